package torture

import (
	"fmt"
	"strconv"
)

// A Program is a TLS client or server that is a process of its own. [Program.Scenarios] puts a stack at the other end
// of its connection: over kernel TCP, directly, for whatever stood between them would change the resets.
//
// A program is run without a shell, is given 30 seconds, and has ended when its trial has. Where it is not installed its
// trials are skipped, and the report says why.
type Program struct {
	// Name stands in the names of the scenarios.
	Name string

	// Client returns the command line of a client that connects to 127.0.0.1, writes its standard input, to the end,
	// to the server, and exits with a status other than zero if it was told that this failed. Nil: it is no client.
	Client func(ProgramTrial) ([]string, error)

	// Server returns the command line of a server that listens on 127.0.0.1, accepts one connection, writes what it
	// reads there to its standard output, and nothing else, and exits. Its standard input never ends. Nil: it is no
	// server.
	Server func(ProgramTrial) ([]string, error)

	// ClientNeverReads says that the client reads nothing once its handshake is done. Then crypto/tls at the other end
	// must lose what it sends.
	ClientNeverReads bool

	// ServerSendsTickets says that the server sends tickets once the handshake is done. Then a crypto/tls client that
	// never reads must lose what it sends.
	ServerSendsTickets bool
}

// ProgramTrial is what a program needs to know of its trial. The files are PEM, and of the plan's own authority. The
// server's name is localhost.
type ProgramTrial struct {
	Port                      int
	CAFile, CertFile, KeyFile string

	workshop *workshop
}

// Programs returns the programs built in. gnutls-serv is not among them: it listens on all interfaces of the machine,
// and tells nobody what it has received.
func Programs() []Program {
	return []Program{
		{
			Name: "openssl",
			Client: func(p ProgramTrial) ([]string, error) {
				return []string{"openssl", "s_client", "-quiet", "-no_ign_eof", "-nocommands", "-tls1_3",
					"-connect", p.address(), "-servername", "localhost", "-verify_hostname", "localhost",
					"-verify_return_error", "-CAfile", p.CAFile}, nil
			},
			Server: func(p ProgramTrial) ([]string, error) {
				return []string{"openssl", "s_server", "-quiet", "-tls1_3", "-accept", p.address(), "-naccept", "1",
					"-cert", p.CertFile, "-key", p.KeyFile}, nil
			},
			ServerSendsTickets: true,
		},
		{
			Name: "gnutls",
			Client: func(p ProgramTrial) ([]string, error) {
				return []string{"gnutls-cli", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3", "--x509cafile", p.CAFile,
					"--sni-hostname", "localhost", "--verify-hostname", "localhost", "--port", strconv.Itoa(p.Port), "127.0.0.1"}, nil
			},
		},
		{Name: "c-openssl", Client: uploadInC("openssl"), ClientNeverReads: true},
		{Name: "c-gnutls", Client: uploadInC("gnutls"), ClientNeverReads: true},
	}
}

func (p ProgramTrial) address() string { return fmt.Sprintf("127.0.0.1:%d", p.Port) }

// uploadInC is a client in C that writes and never reads. The program is built once in a plan.
func uploadInC(library string) func(ProgramTrial) ([]string, error) {
	return func(p ProgramTrial) ([]string, error) {
		program, err := p.workshop.peer(library)
		return []string{program, strconv.Itoa(p.Port), p.CAFile, "copy", "shutdown"}, err
	}
}

// Scenarios returns what the program can take part in: as a client upload-from-NAME, with a server that reads slowly,
// and upload-from-NAME-fast-reader; as a server upload-to-NAME, where the stack under test is a client that never reads.
func (p Program) Scenarios() []Scenario {
	var all []Scenario
	if p.Client != nil {
		from := Scenario{
			Name:       "upload-from-" + p.Name,
			About:      "the program writes, closes and is gone; the server reads slowly",
			Threat:     DataLoss,
			On:         onTCP(p.ClientNeverReads),
			slowReader: true,
			dial:       p.dialedByClient,
			client:     feed,
			server:     reader,
		}
		all = append(all, from)
		if p.ClientNeverReads {
			fast := from
			fast.Name += "-fast-reader"
			fast.About = "the same, and the server reads as fast as it can"
			fast.TrialsPerRun = 3 // a race, as upload-fast-reader is
			fast.slowReader = false
			all = append(all, fast)
		}
	}
	if p.Server != nil {
		all = append(all, Scenario{
			Name:       "upload-to-" + p.Name,
			About:      "a client writes, closes and never reads; the server is the program, and slow",
			Threat:     DataLoss,
			On:         onTCP(p.ServerSendsTickets),
			ofClient:   true,
			slowReader: true,
			dial:       p.dialServer,
			client: func(s *side) error {
				return uploadOver(s, s.trial.stack.Client(s.transport, s.trial.clientConfig), s.trial.size)
			},
			server: collect,
		})
	}
	return all
}

func onTCP(stockFails bool) []On {
	if stockFails {
		return on(256<<10, "tcp")
	}
	return alsoOn("tcp")
}

// programScenarios are those of the programs built in.
func programScenarios() []Scenario {
	var all []Scenario
	for _, p := range Programs() {
		all = append(all, p.Scenarios()...)
	}
	return all
}
