package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/cert"
	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/ftpd"
)

const ftpdHelp = `Ftpd receives files over FTPS. Without arguments it serves a temporary folder to
one user, with a password that it prints.

A file appears under its name only when its upload has ended properly, by TLS's
close_notify; then it is on the disk. Until then, and for good if the connection
ends in any other way, it is NAME.partial, and the client gets an error.

Clients and their ends of uploads:
  close_notify        %s
  none                %s
Those of the second line need --allow-truncated. With it an upload that died
between two TLS records is taken for complete, unless it is empty.

TLS is required for commands and data. Data connections are passive (PASV, EPSV);
PORT and EPRT are refused. The server never writes before the client is done with
writing, so clients that do not read while they upload lose nothing (see "tlsstream
torture").

The file for --users has a line for each user, as "tlsstream ftpd passwd NAME" or
"htpasswd -nB NAME" prints it, and what else is wanted behind it, root= last:
  alice:$2y$10$... quota=20GiB rate=10MiB root=/srv/alice
Without root= it is the folder NAME below --root. Symbolic links do not lead out of
a user's folder.

On SIGINT and SIGTERM uploads in flight may finish within --grace.

Exit status:
  %d  ended by a signal, and some uploads could not finish; they are named
  %d  wrong usage, or a server that cannot start
  0  ended by a signal, and all uploads had finished

With --json the description of the server is one JSON document on standard output:
  version               of this format: 1
  listen, listen_implicit   addresses; empty if not served
  root                  folder
  user, password        empty with --users; the password only if it was made up
  self_signed, certificate_sha256, public_key_pin
and the log on standard error is JSON, a line for each event.`

// exitUnfinished says that uploads were cut by the end of the server.
const exitUnfinished = 2

type ftpdFlags struct {
	listen, implicit string
	root             string
	user, password   string
	users            string
	cert             cert.Flags

	requireReuse, allowTruncated bool

	quota, rate    byteSize
	maxConnections int
	idle, grace    time.Duration
	publicIP       string
	passivePorts   string
	verbose, json  bool
}

func newFtpdCommand() *cobra.Command {
	var flags ftpdFlags
	cmd := &cobra.Command{
		Use:   "ftpd",
		Short: "Receive files over FTPS, whole or not at all",
		Long:  fmt.Sprintf(ftpdHelp, ftpd.Closers, ftpd.Truncaters, exitUnfinished, exitError),
		Example: "  tlsstream ftpd\n" +
			"  tlsstream ftpd --listen :21 --listen-implicit :990 --root /srv/in --user bob --password WORD\n" +
			"  tlsstream ftpd --listen :21 --root /srv/in --users users.txt --cert server.pem --key server-key.pem --require-reuse",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runFtpd(cmd, &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.listen, "listen", "127.0.0.1:2121", "address for explicit TLS (AUTH TLS); empty for none")
	f.StringVar(&flags.implicit, "listen-implicit", "", "address for implicit TLS (default none)")
	f.StringVar(&flags.root, "root", "", "folder to serve (default a new temporary one)")
	f.StringVar(&flags.user, "user", "upload", "name of the only user")
	f.StringVar(&flags.password, "password", "", "password of the only user, for all to see who list processes (default a new one, printed)")
	f.StringVar(&flags.users, "users", "", "file with users, in place of the only one")
	flags.cert.Register(f)
	f.BoolVar(&flags.requireReuse, "require-reuse", false, "refuse data connections that do not resume the control connection's TLS session (ftplib's do not)")
	f.BoolVar(&flags.allowTruncated, "allow-truncated", false, "accept uploads that end without close_notify")
	f.Var(&flags.quota, "quota", "most bytes below the only user's folder, such as 20GiB (default no bound)")
	f.Var(&flags.rate, "rate", "most bytes per second of the only user, each way, such as 10MiB (default no bound)")
	f.IntVar(&flags.maxConnections, "max-connections", 100, "most control connections at a time")
	f.DurationVar(&flags.idle, "idle", 5*time.Minute, "end connections on which nothing happens for so long")
	f.DurationVar(&flags.grace, "grace", 30*time.Second, "how long uploads in flight may take to finish after a signal")
	f.StringVar(&flags.publicIP, "public-ip", "", "IPv4 address to tell PASV clients (default that of the control connection)")
	f.StringVar(&flags.passivePorts, "passive-ports", "", "range of ports for data connections, such as 50000-50099 (default any)")
	f.BoolVar(&flags.verbose, "verbose", false, "log what the FTP library has to say, too")
	f.BoolVar(&flags.json, "json", false, "describe the server, and log, in JSON")
	cmd.AddCommand(newPasswdCommand())
	return cmd
}

func runFtpd(cmd *cobra.Command, flags *ftpdFlags) error {
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	options := &slog.HandlerOptions{}
	if flags.verbose {
		options.Level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, options))
	if flags.json {
		log = slog.New(slog.NewJSONHandler(stderr, options))
	}
	about := ftpdAbout{Version: formatVersion}
	config, err := flags.config(cmd, log, &about)
	if err != nil {
		return err
	}
	if about.temporary {
		defer os.Remove(about.Root) // goes only if it is empty
	}
	server, err := ftpd.New(*config)
	if err != nil {
		return &usageError{err.Error(), hintHelp(cmd)}
	}
	listeners, err := flags.open(&about)
	if err != nil {
		return err
	}
	if err := about.write(stdout, flags.json); err != nil {
		return fmt.Errorf("cannot write to standard output: %w", err)
	}
	ended := make(chan struct{})
	for implicit, l := range listeners {
		go func() {
			server.Serve(l, implicit)
			ended <- struct{}{}
		}()
	}

	<-cmd.Context().Done()
	log.Info("going down", "grace", flags.grace)
	ctx, cancel := context.WithTimeout(context.Background(), flags.grace)
	defer cancel()
	unfinished := server.Shutdown(ctx)
	for range listeners {
		<-ended
	}
	for _, name := range unfinished {
		fmt.Fprintf(stderr, "tlsstream: upload not finished, kept as .partial: %s\n", name)
	}
	if len(unfinished) > 0 {
		return exitStatus(exitUnfinished)
	}
	return nil
}

func hintHelp(cmd *cobra.Command) string { return fmt.Sprintf("run %q", cmd.CommandPath()+" --help") }

// config checks the flags.
func (flags *ftpdFlags) config(cmd *cobra.Command, log *slog.Logger, about *ftpdAbout) (*ftpd.Config, error) {
	if flags.listen == "" && flags.implicit == "" {
		return nil, &usageError{"nothing to listen on", "give --listen or --listen-implicit an address, such as 127.0.0.1:2121"}
	}
	passive := ftpd.Passive{PublicIP: flags.publicIP}
	if flags.passivePorts != "" {
		first, last, ok := strings.Cut(flags.passivePorts, "-")
		var err, err2 error
		passive.First, err = strconv.Atoi(first)
		passive.Last, err2 = strconv.Atoi(last)
		if !ok || err != nil || err2 != nil {
			return nil, &usageError{fmt.Sprintf("%q is not a range of ports", flags.passivePorts), "such as --passive-ports 50000-50099"}
		}
	}
	if flags.users != "" {
		for _, name := range []string{"user", "password", "quota", "rate"} {
			if cmd.Flags().Changed(name) {
				return nil, &usageError{fmt.Sprintf("--%s is for the only user, and --users names several", name), "set it in the file of --users"}
			}
		}
	}
	source, err := flags.cert.Open(log, hostOf(flags.listen), hostOf(flags.implicit), flags.publicIP)
	if err != nil {
		return nil, err
	}
	about.SelfSigned, about.Fingerprint, about.Pin = source.SelfSigned, source.Fingerprint(), source.Pin()
	if err := flags.openRoot(about); err != nil {
		return nil, err
	}
	users, err := flags.readUsers(about)
	if err != nil {
		return nil, err
	}
	return &ftpd.Config{
		Users:          users,
		TLS:            &tls.Config{GetCertificate: source.GetCertificate},
		Passive:        passive,
		RequireReuse:   flags.requireReuse,
		AllowTruncated: flags.allowTruncated,
		MaxConnections: flags.maxConnections,
		Idle:           flags.idle,
		Log:            log,
	}, nil
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

func (flags *ftpdFlags) openRoot(about *ftpdAbout) error {
	if flags.root == "" {
		folder, err := os.MkdirTemp("", "tlsstream-ftpd-")
		if err != nil {
			return fmt.Errorf("cannot make a folder to serve: %w", err)
		}
		about.Root, about.temporary = folder, true
		return nil
	}
	folder, err := filepath.Abs(flags.root)
	if err == nil {
		var info os.FileInfo
		if info, err = os.Stat(folder); err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a folder", folder)
		}
	}
	if err != nil {
		return &usageError{fmt.Sprintf("cannot serve --root %s: %v", flags.root, err), "name a folder that is there"}
	}
	about.Root = folder
	return nil
}

func (flags *ftpdFlags) readUsers(about *ftpdAbout) (*ftpd.Users, error) {
	users := ftpd.NewUsers()
	if flags.users == "" {
		password := flags.password
		if password == "" {
			password = rand.Text()[:passwordLen]
			about.Password = password
		}
		about.User = flags.user
		hash, err := ftpd.HashPassword(password)
		if err != nil {
			return nil, err
		}
		return users, users.Add(ftpd.User{Name: flags.user, Root: about.Root, Quota: int64(flags.quota), Rate: int64(flags.rate)}, hash)
	}
	file, err := os.Open(flags.users)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("cannot read the users: %v", err), `make a line for the file with "tlsstream ftpd passwd NAME"`}
	}
	defer file.Close()
	size := func(text string) (int64, error) {
		var n byteSize
		err := n.Set(text)
		return int64(n), err
	}
	if err := users.Read(file, about.Root, size); err != nil {
		return nil, &usageError{fmt.Sprintf("%s, %v", flags.users, err), `"tlsstream ftpd --help" tells what is in a line`}
	}
	for _, user := range users.All() {
		if err := os.MkdirAll(user.Root, 0o777); err != nil {
			return nil, fmt.Errorf("cannot make the folder of user %q: %w", user.Name, err)
		}
	}
	return users, nil
}

// passwordLen letters of base32 are 80 bits.
const passwordLen = 16

// open listens. The key of the map is whether TLS is implicit.
func (flags *ftpdFlags) open(about *ftpdAbout) (map[bool]net.Listener, error) {
	listeners := make(map[bool]net.Listener)
	for implicit, flag := range map[bool]*struct {
		name, address string
		shown         *string
	}{
		false: {"--listen", flags.listen, &about.Listen},
		true:  {"--listen-implicit", flags.implicit, &about.ListenImplicit},
	} {
		if flag.address == "" {
			continue
		}
		l, err := net.Listen("tcp", flag.address)
		if err != nil {
			for _, other := range listeners {
				other.Close()
			}
			return nil, &usageError{fmt.Sprintf("cannot listen: %v", err), fmt.Sprintf("choose another address with %s, or port 0 for any that is free", flag.name)}
		}
		listeners[implicit] = l
		*flag.shown = l.Addr().String()
	}
	return listeners, nil
}

// ftpdAbout describes the server that runs.
type ftpdAbout struct {
	Version        int    `json:"version"`
	Listen         string `json:"listen"`
	ListenImplicit string `json:"listen_implicit"`
	Root           string `json:"root"`
	User           string `json:"user"`
	Password       string `json:"password"`
	SelfSigned     bool   `json:"self_signed"`
	Fingerprint    string `json:"certificate_sha256"`
	Pin            string `json:"public_key_pin"`

	temporary bool
}

func (a *ftpdAbout) write(w io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(a)
	}
	out := &errWriter{w: w}
	url := ""
	if a.Listen != "" {
		fmt.Fprintf(out, "explicit TLS: %s\n", a.Listen)
		url = "ftp://" + a.Listen
	}
	if a.ListenImplicit != "" {
		fmt.Fprintf(out, "implicit TLS: %s\n", a.ListenImplicit)
		if url == "" {
			url = "ftps://" + a.ListenImplicit
		}
	}
	fmt.Fprintf(out, "folder:       %s\n", a.Root)
	if a.User != "" {
		fmt.Fprintf(out, "user:         %s\n", a.User)
	}
	if a.Password != "" {
		fmt.Fprintf(out, "password:     %s\n", a.Password)
	}
	fmt.Fprintf(out, "certificate:  SHA-256 %s\n", a.Fingerprint)
	if a.Password != "" && a.SelfSigned {
		// The pin is verified in place of the chain.
		fmt.Fprintf(out, "\n    curl --ssl-reqd --insecure --pinnedpubkey %s --user %s:%s --upload-file FILE %s/\n\n", a.Pin, a.User, a.Password, url)
	}
	return out.err
}

func newPasswdCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "passwd NAME",
		Short:   "Read a password and print a line for the file of --users",
		Example: "  tlsstream ftpd passwd alice >>users.txt",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("cannot read the password: %w", err)
			}
			hash, err := ftpd.HashPassword(strings.TrimRight(line, "\r\n"))
			if err != nil {
				return &usageError{err.Error(), "give the password as one line on standard input"}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s:%s\n", args[0], hash)
			return err
		},
	}
}
