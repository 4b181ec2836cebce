package main

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/cert"
	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/proxy"
)

const proxyHelp = `Proxy accepts TLS and carries each connection to a plain TCP service, or, with
--originate, accepts plain TCP and carries it to a TLS service. Programs in any language
get streams that never write out of turn: a client that only writes and never reads, such as
an upload or a log sender, loses nothing when it closes.

Every ending crosses as what it is. The TLS peer's close_notify becomes FIN at once. A TLS
stream that is cut off, by a bare FIN, a reset or an alert, becomes RST, behind all that
came before. A reset or a timeout of the plain side becomes a fatal alert. The plain side's
FIN becomes close_notify at once, unless the TLS peer is in the middle of sending: a
close_notify that a writing peer never reads costs it what it has not sent, when it closes.
--plain-end says what happens then:
  quiet     wait for the TLS peer's end, or until nothing has come from it for --quiet
  last      wait for the TLS peer's end in every case: for uploads and logs (not with
            --originate)
  at-once   do not wait, as other proxies

TLS peers are checked by --client-ca, and --allow-name, or by --pin; with --originate by
--ca and --server-name, or by --pin. Certificates are read again when their files change.

Connections over --max-connections wait in the kernel's queue. SIGINT and SIGTERM stop the
accepting, and the program ends when all connections have, after --drain-timeout at the
latest. SIGUSR2 starts the program anew, with the same flags and the same listening
sockets, so that no connection is refused or lost: the old process carries what it has to
the end, for --restart-timeout at the most. If the new one does not come up, the old one
goes on. (Not on Windows. A self-signed certificate is made anew: use --cert.)

Standard output says what it listens on, with --json as one JSON document:
  version                of this format: 1
  pid
  listen, to             addresses
  originate
  metrics                URL, or empty
  certificate            null, or: self_signed, sha256, pin, not_after
Fields may be added; none is renamed or removed within a version. What happens goes to
standard error, with --json as a JSON object a line.

Exit status:
  0    was told to stop, or to start anew, and all connections have ended by themselves
  1    wrong usage, or a file or an address cannot be used
  2    was told to stop, and connections had to be cut`

const exitCut = 2

// proxyFlags are the flags of the command as the user gave them.
type proxyFlags struct {
	listen, to string
	originate  bool
	routes     []string

	cert       cert.Flags
	clientCA   string
	ca         string
	serverName string
	names      []string
	pins       []string
	alpn       []string

	proxyProtocol bool
	end           proxy.EndRule
	quiet         time.Duration

	connections                  int
	socketBuffer                 byteSize
	idle, handshake, dial        time.Duration
	drainTimeout, restartTimeout time.Duration
	metrics, pidFile             string
	json, verbose                bool
}

func newProxyCommand() *cobra.Command {
	var flags proxyFlags
	cmd := &cobra.Command{
		Use:   "proxy --listen ADDRESS --to ADDRESS",
		Short: "Put TLS in front of a TCP service, or in front of a client that has none",
		Long:  proxyHelp,
		Example: `  tlsstream proxy --listen :6514 --to 127.0.0.1:514 --cert server.pem --key server-key.pem
  tlsstream proxy --listen :6514 --to 127.0.0.1:514 --plain-end last --client-ca ca.pem --allow-name web1.example
  tlsstream proxy --listen 127.0.0.1:514 --originate --to logs.example:6514
  tlsstream proxy --listen :443 --route h2=127.0.0.1:8081 --to 127.0.0.1:8080 --metrics 127.0.0.1:9114`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runProxy(cmd, &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.listen, "listen", "", "address to accept connections on, HOST:PORT or :PORT")
	f.StringVar(&flags.to, "to", "", "address of the backend, HOST:PORT")
	f.BoolVar(&flags.originate, "originate", false, "accept plain TCP, and speak TLS to the backend")
	f.StringArrayVar(&flags.routes, "route", nil, "PROTOCOL=HOST:PORT: offer this ALPN protocol, and carry it there; may be given again (--to is for clients that ask for none)")
	flags.cert.Register(f)
	f.StringVar(&flags.clientCA, "client-ca", "", "PEM file of authorities: clients must show a certificate from one of them")
	f.StringArrayVar(&flags.names, "allow-name", nil, "with --client-ca: let in only who has this DNS name, e-mail address, IP address or URI, or, without any, common name; may be given again")
	f.StringArrayVar(&flags.pins, "pin", nil, "accept TLS peers with this public key only, sha256/BASE64, whatever their certificate says; may be given again")
	f.StringVar(&flags.ca, "ca", "", "with --originate: PEM file of authorities that the backend's certificate may be from (default the system's)")
	f.StringVar(&flags.serverName, "server-name", "", "with --originate: name that the backend's certificate must have (default the host of --to)")
	f.StringSliceVar(&flags.alpn, "alpn", nil, "with --originate: ALPN protocols to ask for, separated by commas")
	f.BoolVar(&flags.proxyProtocol, "proxy-protocol", false, "tell the backend the client's address, by a PROXY protocol version 2 header")
	f.Var(&flags.end, "plain-end", "when the plain side's end crosses to a TLS peer that is sending: quiet, last or at-once")
	f.DurationVar(&flags.quiet, "quiet", time.Second, "how long nothing must come from a TLS peer before it counts as not sending; more than a round trip")
	f.IntVar(&flags.connections, "max-connections", 4096, "connections at once; more wait in the kernel's queue")
	f.Var(&flags.socketBuffer, "socket-buffer", "size of each of the four kernel buffers of a connection, such as 64KiB (default by the system, up to some MiB)")
	f.DurationVar(&flags.idle, "idle-timeout", time.Hour, "end a connection, as an error, on which nothing moves for this long")
	f.DurationVar(&flags.handshake, "handshake-timeout", 10*time.Second, "time for a TLS handshake")
	f.DurationVar(&flags.dial, "dial-timeout", 10*time.Second, "time to connect to the backend")
	f.DurationVar(&flags.drainTimeout, "drain-timeout", 30*time.Second, "time for connections to end after SIGINT or SIGTERM, before they are cut")
	f.DurationVar(&flags.restartTimeout, "restart-timeout", 24*time.Hour, "the same, for what the old process carries after SIGUSR2")
	f.StringVar(&flags.metrics, "metrics", "", "loopback address for Prometheus at /metrics and pprof at /debug/pprof/ (default none)")
	f.StringVar(&flags.pidFile, "pid-file", "", "file to write the process id to, when ready")
	f.BoolVar(&flags.json, "json", false, "print one JSON document, and log in JSON")
	f.BoolVar(&flags.verbose, "verbose", false, "log connections that ended well, too")
	return cmd
}

// check refuses what makes no sense, before anything is opened.
func (flags *proxyFlags) check() error {
	for _, f := range []struct {
		name, value, example string
		needed               bool
	}{
		{"--listen", flags.listen, ":6514", true},
		{"--to", flags.to, "127.0.0.1:514", len(flags.routes) == 0},
		{"--metrics", flags.metrics, "127.0.0.1:9114", false},
	} {
		if f.value == "" && !f.needed {
			continue
		}
		if err := checkAddress(f.name, f.value, f.example); err != nil {
			return err
		}
	}
	if host, _, _ := net.SplitHostPort(flags.metrics); flags.metrics != "" && !isLoopback(host) {
		return &usageError{fmt.Sprintf("--metrics %s is not a loopback address", flags.metrics),
			"whoever reaches it can profile this process: choose 127.0.0.1 or [::1], and put a proxy in front for others"}
	}
	for _, f := range []struct {
		name  string
		given bool
		only  bool // when --originate is as this
	}{
		{"--route", len(flags.routes) > 0, false},
		{"--client-ca", flags.clientCA != "", false},
		{"--allow-name", len(flags.names) > 0, false},
		{"--ca", flags.ca != "", true},
		{"--server-name", flags.serverName != "", true},
		{"--alpn", len(flags.alpn) > 0, true},
	} {
		if f.given && f.only != flags.originate {
			problem := f.name + " with --originate"
			if f.only {
				problem = f.name + " without --originate"
			}
			return &usageError{problem, "with --originate this program is a TLS client, and without a TLS server"}
		}
	}
	switch {
	case len(flags.names) > 0 && flags.clientCA == "":
		return &usageError{"--allow-name without --client-ca", "a name means nothing before somebody vouches for it: add --client-ca, or use --pin"}
	case len(flags.pins) > 0 && (flags.clientCA != "" || flags.ca != ""):
		return &usageError{"--pin, and --client-ca or --ca: choose one", "a pinned key is accepted whatever its certificate says"}
	case len(flags.pins) > 0 && flags.serverName != "":
		return &usageError{"--pin and --server-name: choose one", "a pinned key is accepted whatever name its certificate has"}
	case flags.originate && flags.end == proxy.EndLast:
		return &usageError{"--plain-end last with --originate", "a backend that waits for the end of a request before it answers would wait for ever: choose quiet or at-once"}
	case flags.connections < 1:
		return &usageError{fmt.Sprintf("--max-connections %d is less than one", flags.connections), "choose at least 1"}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"--quiet", flags.quiet}, {"--idle-timeout", flags.idle}, {"--handshake-timeout", flags.handshake},
		{"--dial-timeout", flags.dial}, {"--drain-timeout", flags.drainTimeout}, {"--restart-timeout", flags.restartTimeout},
	} {
		if d.value <= 0 {
			return &usageError{fmt.Sprintf("%s %v is not a time to wait", d.name, d.value), "choose one such as 30s, 5m or 1h"}
		}
	}
	return nil
}

// config makes what the flags say of them.
func (flags *proxyFlags) config(log *slog.Logger) (proxy.Config, *cert.Source, error) {
	config := proxy.Config{
		Originate: flags.originate, To: flags.to, AllowedNames: flags.names, ProxyHeader: flags.proxyProtocol,
		End: flags.end, Quiet: flags.quiet, MaxConnections: flags.connections, SocketBuffer: int(flags.socketBuffer),
		IdleTimeout: flags.idle, HandshakeTimeout: flags.handshake, DialTimeout: flags.dial,
		Log: log, Metrics: proxy.NewMetrics(),
	}
	backends := []string{flags.to}
	for _, text := range flags.routes {
		protocol, to, ok := strings.Cut(text, "=")
		if !ok || protocol == "" || len(protocol) > 255 {
			return config, nil, &usageError{fmt.Sprintf("--route %q is not PROTOCOL=HOST:PORT", text), "for example --route h2=127.0.0.1:8081"}
		}
		if err := checkAddress("--route "+protocol, to, "127.0.0.1:8081"); err != nil {
			return config, nil, err
		}
		config.Routes = append(config.Routes, proxy.Route{Protocol: protocol, To: to})
		backends = append(backends, to)
	}
	for _, to := range backends {
		host, _, _ := net.SplitHostPort(to)
		if host == "" {
			continue
		}
		if _, err := net.LookupHost(host); err != nil {
			return config, nil, &usageError{fmt.Sprintf("cannot find the backend %s: %v", to, err), "check the name, and this machine's name server"}
		}
	}
	var source *cert.Source
	var err error
	config.TLS, source, err = flags.tlsConfig(log)
	return config, source, err
}

func checkAddress(flag, address, example string) error {
	if address == "" {
		return &usageError{flag + " is missing", fmt.Sprintf("for example %s %s", flag, example)}
	}
	if _, port, err := net.SplitHostPort(address); err == nil {
		if _, err := net.LookupPort("tcp", port); err == nil {
			return nil
		}
	}
	return &usageError{fmt.Sprintf("%s %q is not HOST:PORT", flag, address), fmt.Sprintf("for example %s", example)}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
