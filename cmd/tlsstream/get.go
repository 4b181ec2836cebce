package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
)

const getHelp = `Get downloads a file over HTTPS so that it is whole, or an error.

What arrives goes to NAME.partial, beside the target. It gets its name only after an end
that TLS vouches for: all of the Content-Length, the last chunk, or, where the response has
neither, close_notify. Many clients take a connection that is just gone for the end of such
a response; here it is an error. (A server that sends close_notify too early there is
believed: nothing else could tell.) If the server gives up half-way with a fatal alert,
that is told, with its reason if it sent one (see AbortWithReason of package tlsstream).

After a failure the same command goes on where the last one was stopped, if the server has a
strong ETag, or a Last-Modified that is a minute old, and sends ranges. A file that has
changed meanwhile starts again.

With --signature and --keyring, a detached OpenPGP signature (armored or binary) is fetched,
too, and kept beside the file. If the two do not match, as when a repository is changed between
the two requests or a cache has an old one of them, both are asked for again, at most %d times in
all: with Cache-Control: no-cache, then with a query parameter made of Last-Modified, which caches
have not seen. A file and a signature that do not match never stand beside each other.

The server speaks HTTP/1.1 over TLS 1.2 or 1.3. Proxies of the environment are not used.

Exit status, and the "status" of --json:
%s
With --json the result is one JSON document on standard output:
  version           of this format: 1
  exit_status, status
  url               where the file came from, after redirects
  file              its name
  bytes             that have come; total_bytes is null if that is not known
  resumed_at        how many of them an earlier run had fetched
  ending            content-length, last-chunk or close-notify; empty if there was none
  partial           the file that the next run goes on from; empty if there is none
  error, hint       empty if it is complete
  alert             null, or what the server gave up with: number, name, reason
  signature         null, or: file, attempts, key (fingerprint), signer; the last two are empty if it
                    did not match
Fields may be added; none is renamed or removed within a version.`

// getFormat is the version of the document.
const getFormat = 1

type getFlags struct {
	output    string
	signature string
	keyring   string
	ca        string
	insecure  bool
	timeout   time.Duration
	maxTime   time.Duration
	maxSize   byteSize
	json      bool
}

func newGetCommand() *cobra.Command {
	var flags getFlags
	cmd := &cobra.Command{
		Use:   "get URL",
		Short: "Download a file that is whole, or an error",
		Long:  fmt.Sprintf(getHelp, get.MaxAttempts, getExitHelp()),
		Example: "  tlsstream get https://example.com/big.iso\n" +
			"  tlsstream get --output repomd.xml --signature https://example.com/repodata/repomd.xml.asc \\\n" +
			"      --keyring RPM-GPG-KEY https://example.com/repodata/repomd.xml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{"get takes one URL", "such as https://example.com/file"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := flags.config(args[0])
			if err != nil {
				return err
			}
			return runGet(cmd, config, &flags)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&flags.output, "output", "o", "", "name of the file (default the last part of the URL)")
	f.StringVar(&flags.signature, "signature", "", "URL of the detached signature; needs --keyring")
	f.StringVar(&flags.keyring, "keyring", "", "file with the OpenPGP public keys that may have signed, armored or not")
	f.StringVar(&flags.ca, "ca", "", "file with the PEM certificates to trust, in place of the system's")
	f.BoolVar(&flags.insecure, "insecure", false, "trust any certificate: anybody in between can send what they like")
	f.DurationVar(&flags.timeout, "timeout", 30*time.Second, "longest wait for a connection, and for each piece of a response")
	f.DurationVar(&flags.maxTime, "max-time", 0, "longest time for all of it (default no limit)")
	f.Var(&flags.maxSize, "max-size", "largest file to accept, such as 500MiB (default no limit)")
	f.BoolVar(&flags.json, "json", false, "print one JSON document instead of text")
	return cmd
}

// config checks the flags.
func (flags *getFlags) config(address string) (config get.Config, err error) {
	if config.URL, err = httpsURL(address); err != nil {
		return config, err
	}
	config.Output = flags.output
	if config.Output == "" {
		if config.Output, err = get.NameOf(config.URL); err != nil {
			return config, &usageError{err.Error(), "name the file with --output"}
		}
	}
	if info, err := os.Stat(config.Output); err == nil && info.IsDir() {
		return config, &usageError{fmt.Sprintf("%s is a folder", config.Output), "name a file with --output"}
	}
	if config.Output == "-" {
		return config, &usageError{"standard output cannot take back a part of a file", "name a file with --output"}
	}
	switch {
	case (flags.signature == "") != (flags.keyring == ""):
		return config, &usageError{"--signature and --keyring go together", "give both, or neither"}
	case flags.insecure && flags.ca != "":
		return config, &usageError{"--insecure trusts everybody, and --ca a few", "give one of them"}
	case flags.timeout <= 0:
		return config, &usageError{fmt.Sprintf("--timeout %v is not more than nothing", flags.timeout), "choose a time such as 30s"}
	case flags.maxTime < 0:
		return config, &usageError{fmt.Sprintf("--max-time %v is negative", flags.maxTime), "choose a time such as 10m"}
	}
	if flags.signature != "" {
		if err := flags.readSigning(&config); err != nil {
			return config, err
		}
	}
	config.TLS = &tls.Config{InsecureSkipVerify: flags.insecure}
	if flags.ca != "" {
		if config.TLS.RootCAs, err = readPool("--ca", flags.ca); err != nil {
			return config, err
		}
	}
	config.Timeout, config.MaxTime, config.MaxBytes = flags.timeout, flags.maxTime, int64(flags.maxSize)
	return config, nil
}

func httpsURL(address string) (*url.URL, error) {
	parsed, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, &usageError{fmt.Sprintf("not a URL: %v", err), "such as https://example.com/file"}
	case parsed.Scheme != "https" || parsed.Hostname() == "":
		return nil, &usageError{fmt.Sprintf("%q is not an https URL", parsed.Redacted()), "only TLS tells whether a download is whole: such as https://example.com/file"}
	}
	return parsed, nil
}

func (flags *getFlags) readSigning(config *get.Config) error {
	signature, err := httpsURL(flags.signature)
	if err != nil {
		return err
	}
	config.Signature = signature
	name, err := get.NameOf(signature)
	if err != nil {
		return &usageError{err.Error(), "it is kept under its own name: use a URL that ends in one"}
	}
	if name == filepath.Base(config.Output) {
		return &usageError{fmt.Sprintf("the file and its signature would both be %s", name), "name the file with --output"}
	}
	text, err := os.ReadFile(flags.keyring)
	if err != nil {
		return &usageError{fmt.Sprintf("cannot read the keyring: %v", err), `"gpg --export --armor NAME" writes one`}
	}
	if config.Keyring, err = get.ReadKeyring(bytes.NewReader(text)); err != nil || len(config.Keyring) == 0 {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return &usageError{fmt.Sprintf("%s has no OpenPGP public keys: %v", flags.keyring, err), `"gpg --export --armor NAME" writes them`}
	}
	return nil
}

func runGet(cmd *cobra.Command, config get.Config, flags *getFlags) error {
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if flags.insecure {
		fmt.Fprintln(stderr, "tlsstream: warning: --insecure: nobody knows who sends this file, and anybody may have changed it")
	}
	progress := newGetProgress(stderr)
	config.Progress, config.Note = progress.update, progress.note
	result, err := get.Run(cmd.Context(), config)
	progress.end()
	if flags.json {
		if err := encodeJSON(stdout, newGetDocument(result, err)); err != nil {
			return fmt.Errorf("cannot write the result: %w", err)
		}
	} else if err == nil {
		if err := writeGet(stdout, result); err != nil {
			return fmt.Errorf("cannot write the result: %w", err)
		}
	}
	if err == nil {
		return nil
	}
	fmt.Fprintf(stderr, "tlsstream: error: %v\n", err)
	if hint := getHint(result, err); hint != "" {
		fmt.Fprintf(stderr, "tlsstream: hint: %s\n", hint)
	}
	return exitStatus(getExitOf(result.Kind))
}

// getHint says what to do: what the error says, else what becomes of the part that has come.
func getHint(result *get.Result, err error) string {
	failure, ok := errors.AsType[*get.Error](err)
	switch {
	case ok && failure.Hint != "":
		return failure.Hint
	case result.Partial != "":
		return fmt.Sprintf("the same command goes on at byte %d, from %s", result.Bytes, result.Partial)
	}
	return "nothing was kept; the same command starts again"
}
