package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/probe"
)

const probeHelp = `Probe tells whether a TLS 1.3 server is safe for clients that write and never read:
FTPS uploads, log senders. Such a client is harmed by what the server's TLS sends
unasked, session tickets and answers to key updates: they lie unread when it closes,
so that its system resets the connection and drops what it had not sent yet.

Five short connections, one after the other, see how many tickets the server sends,
and when; how it answers KeyUpdate(update_requested); how it ends its stream; what it
does when a client's stream breaks off; and whether a ticket resumes. Nothing is sent
but a request of the protocol; --send gives another one. With --starttls ftp it is the
control connection that is watched, not those for data (ProFTPD's, for one, do the
same).

Exit status:
%s
With --json standard output holds one JSON document:
  version       of this format: 1; it grows when a field changes its meaning or goes
  exit_status   as above
  address, server_name, starttls, fingerprint   what was probed, and how
  software      what the server calls itself, if it is one that is known
  tls           version, cipher_suite, alpn, verified (false with --insecure)
  tickets       count, bytes (on the wire), when: first-flight (before our Finished),
                after-finished (before any data), with-data (of the server's own),
                after-first-bytes (of ours), at-end (after our close_notify), never;
                each: a list of bytes, when, milliseconds; unasked_count and
                unasked_bytes of those at first-flight and after-finished
  key_update    answer: at-once, deferred (to the next write), never, unanswered
                (nothing was written, either), refused, unknown; milliseconds; note
  end           ending: close-notify, alert, fin, reset, none, unknown; alert;
                after: after-first-bytes (by itself) or at-end
  truncation    reported (by alert or reset); ending and alert as above
  resumption    resumes: yes, no, no-tickets, unknown; note
  verdicts      a list of use (uploads, one-way logs, HTTP/1.1), verdict (safe,
                unsafe, unknown, not-applicable), reasons
  remedies      a list of what to configure
  error         null, or class (as the exit status has it: unreachable, not-tls,
                old-tls, bad-certificate, silent), side (server, network, client),
                stage, message, hint; what was not found out yet is unknown`

// The exit statuses of probe.
const (
	exitUnsafe  = 2
	exitUnknown = 8
)

// probeExits are the statuses for servers that could not be probed.
var probeExits = []struct {
	class   probe.Class
	status  int
	meaning string
}{
	{probe.Unreachable, 3, "no connection to the server"},
	{probe.NotTLS, 4, "it answers, and there is no TLS, or its handshake fails"},
	{probe.OldTLS, 5, "it speaks TLS 1.2 or older, which has no such problem"},
	{probe.BadCertificate, 6, "its certificate is not accepted"},
	{probe.Silent, 7, "it does not answer within --timeout"},
}

func probeStatuses() string {
	var b strings.Builder
	fmt.Fprintf(&b, "    0  safe for every use\n  %3d  unsafe for a use\n", exitUnsafe)
	for _, e := range probeExits {
		fmt.Fprintf(&b, "  %3d  %s\n", e.status, e.meaning)
	}
	fmt.Fprintf(&b, "  %3d  not all could be seen, and nothing unsafe was\n", exitUnknown)
	fmt.Fprintf(&b, "  %3d  wrong usage, or an internal error\n  %3d  interrupted\n", exitError, exitInterrupted)
	return b.String()
}

type probeFlags struct {
	probe.Options
	ca, certFile, keyFile string
	alpn                  []string
	send                  string
	json                  bool
}

func newProbeCommand() *cobra.Command {
	var flags probeFlags
	cmd := &cobra.Command{
		Use:   "probe HOST:PORT",
		Short: "Tell whether a server is safe for clients that only write",
		Long:  fmt.Sprintf(probeHelp, probeStatuses()),
		Example: "  tlsstream probe logs.example.org:6514\n" +
			"  tlsstream probe --starttls ftp --insecure 127.0.0.1:21\n" +
			"  tlsstream probe --fingerprint chrome --json www.example.org:443",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return &usageError{"one address is needed", "give HOST:PORT, such as ftp.example.org:21"}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.Address = args[0]
			return runProbe(cmd, &flags)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.StartTLS, "starttls", "", "ask for TLS as this `protocol` does: "+strings.Join(probe.StartTLSProtocols(), ", "))
	f.StringVar(&flags.Fingerprint, "fingerprint", probe.DefaultFingerprint, "`client` to look like: "+strings.Join(probe.Fingerprints(), ", "))
	f.BoolVar(&flags.Insecure, "insecure", false, "accept any certificate")
	f.StringVar(&flags.ca, "ca", "", "`file` with the certificates to trust, in PEM (default the system's)")
	f.StringVar(&flags.ServerName, "servername", "", "`name` to ask for, and to find in the certificate (default HOST)")
	f.StringVar(&flags.certFile, "client-cert", "", "`file` with a certificate to show to servers that ask, in PEM")
	f.StringVar(&flags.keyFile, "client-key", "", "`file` with its key")
	f.StringSliceVar(&flags.alpn, "alpn", nil, "`protocols` to offer (default http/1.1, with --starttls none)")
	f.StringVar(&flags.send, "send", "", "first `bytes` to send, such as 'NOOP\\r\\n' (default a request of the protocol)")
	f.DurationVar(&flags.Wait, "wait", probe.DefaultWait, "silence after which nothing more is expected")
	f.DurationVar(&flags.Timeout, "timeout", probe.DefaultTimeout, "most time for all of it")
	f.BoolVar(&flags.json, "json", false, "print one JSON document instead of text")
	return cmd
}

func runProbe(cmd *cobra.Command, flags *probeFlags) error {
	if err := flags.complete(cmd); err != nil {
		return err
	}
	report, err := probe.Run(cmd.Context(), flags.Options)
	if option, ok := errors.AsType[*probe.OptionError](err); ok {
		return &usageError{option.Problem, option.Hint}
	}
	failure, failed := errors.AsType[*probe.Error](err)
	if err != nil && !failed {
		return err
	}
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if failed && failure.Class == probe.Interrupted {
		fmt.Fprintf(stderr, "tlsstream: interrupted (%s)\n", failure.Stage)
		return exitStatus(exitInterrupted)
	}
	status := probeStatus(report, failure)
	var writeErr error
	switch {
	case flags.json:
		writeErr = writeProbeJSON(stdout, report, failure, status)
	case !failed:
		writeErr = report.WriteText(stdout)
	}
	if writeErr != nil {
		return fmt.Errorf("cannot write the report: %w", writeErr)
	}
	if failed {
		fmt.Fprintf(stderr, "tlsstream: error: %s: %v\n", report.Address, failure)
		fmt.Fprintf(stderr, "tlsstream: hint: %s\n", failure.Hint)
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}

func probeStatus(report *probe.Report, failure *probe.Error) int {
	if failure != nil {
		for _, e := range probeExits {
			if e.class == failure.Class {
				return e.status
			}
		}
		return exitError
	}
	switch report.Safety() {
	case probe.Safe:
		return 0
	case probe.Unsafe:
		return exitUnsafe
	}
	return exitUnknown
}

// complete makes options of the flags that are not.
func (flags *probeFlags) complete(cmd *cobra.Command) error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"wait", flags.Wait}, {"timeout", flags.Timeout}} {
		if f.value <= 0 {
			return &usageError{fmt.Sprintf("--%s %v is no time to wait", f.name, f.value), "choose one such as 500ms or 20s"}
		}
	}
	if cmd.Flags().Changed("alpn") {
		flags.ALPN = []string{}
		for _, name := range flags.alpn {
			if name != "" {
				flags.ALPN = append(flags.ALPN, name)
			}
		}
	}
	if flags.send != "" {
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(flags.send, `"`, `\"`) + `"`)
		if err != nil {
			return &usageError{fmt.Sprintf("--send %q cannot be read", flags.send), `write \r\n for the end of a line and \\ for a backslash`}
		}
		flags.Send = []byte(text)
	}
	if flags.ca != "" {
		pool, err := readPool("--ca", flags.ca)
		if err != nil {
			return err
		}
		flags.Roots = pool
	}
	if (flags.certFile == "") != (flags.keyFile == "") {
		return &usageError{"one of --client-cert and --client-key is missing", "give both, or neither"}
	}
	if flags.certFile != "" {
		pair, err := tls.LoadX509KeyPair(flags.certFile, flags.keyFile)
		if err != nil {
			return &usageError{"the client's certificate: " + err.Error(), "give --client-cert and --client-key a pair in PEM"}
		}
		flags.Certificate = &pair
	}
	return nil
}

// A probeDocument is what probe --json prints.
type probeDocument struct {
	Version    int `json:"version"`
	ExitStatus int `json:"exit_status"`
	*probe.Report
	Error *probeError `json:"error"`
}

type probeError struct {
	Class   probe.Class `json:"class"`
	Side    string      `json:"side"`
	Stage   string      `json:"stage"`
	Message string      `json:"message"`
	Hint    string      `json:"hint"`
}

func writeProbeJSON(w io.Writer, report *probe.Report, failure *probe.Error, status int) error {
	doc := probeDocument{Version: probe.FormatVersion, ExitStatus: status, Report: report}
	if failure != nil {
		doc.Error = &probeError{failure.Class, failure.Side, failure.Stage, failure.Cause(), failure.Hint}
	}
	return encodeJSON(w, doc)
}
