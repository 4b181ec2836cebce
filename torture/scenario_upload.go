package torture

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/deferredtls/deferredtls/membio"
)

// The uploads have a client that writes, closes and never reads. RFC 8446 lets the server send tickets to it all the
// same.

func upload() Scenario {
	return Scenario{
		Name:    "upload",
		About:   "a client writes, closes and never reads; the server reads slowly",
		Reports: []string{"curl/curl#6149", "proftpd/proftpd#744", "proftpd/proftpd#959", "syslog-ng/syslog-ng#3082", "pocoproject/poco#2776", "rsyslog/rsyslog#5627"},
		Threat:  DataLoss,
		On: slices.Concat(on(256<<10, "tcp", "delayed"), on(64<<10, "pipe-strict", "pipe-linux", "segments", "clogged"),
			on(48<<10, "trickle"),
			// Where the receive buffer is the larger one it takes all that is left, and Linux keeps that.
			alsoOn("tcp-sweep")),
		slowReader: true,
		client:     uploader,
		server:     reader,
	}
}

func uploadFastReader() Scenario {
	return Scenario{
		Name:    "upload-fast-reader",
		About:   "the same, and the server reads as fast as it can",
		Reports: []string{"openssl/openssl#10880"},
		Threat:  DataLoss,
		On:      on(256<<10, "tcp"),
		// A race that crypto/tls mostly loses, so more trials.
		TrialsPerRun: 4,

		client: uploader,
		server: reader,
	}
}

func uploadNoCloseNotify() Scenario {
	return Scenario{
		Name:       "upload-no-close-notify",
		About:      "the same, slowly read, from a client that goes without close_notify: all must arrive, as truncated or not",
		Reports:    []string{"openssl/openssl#7948"},
		Threat:     DataLoss,
		On:         slices.Concat(on(256<<10, "tcp"), on(64<<10, "pipe-strict", "pipe-linux")),
		slowReader: true,
		client: func(s *side) error {
			if err := s.begin(s.anyClient()); err != nil {
				return err
			}
			if err := s.send(s.trial.size); err != nil {
				return err
			}
			s.awaitPause()
			return s.do("close", s.transport.Close)
		},
		server: reader,
		oracle: func(client, server told) Verdict {
			if errors.Is(server.err, io.ErrUnexpectedEOF) {
				server.err = nil // it is right to say so
			}
			return allArrives(client, server)
		},
	}
}

func uploadClientCert() Scenario {
	return Scenario{
		Name:   "upload-client-cert",
		About:  "the same with a client certificate: crypto/tls sends the ticket last, in a write of its own",
		Threat: DataLoss,
		On:     slices.Concat(on(256<<10, "tcp"), on(64<<10, "pipe-strict", "pipe-linux")),
		setup: func(t *trial) {
			t.serverConfig.ClientAuth = tls.RequestClientCert
		},
		slowReader: true,
		client:     uploader,
		server:     reader,
	}
}

func uploadLateTicket() Scenario {
	return Scenario{
		Name:   "upload-late-ticket",
		About:  "the same with a server that is slow to verify the certificate: the ticket comes when the client has gone",
		Threat: DataLoss,
		On:     slices.Concat(on(256<<10, "tcp"), on(64<<10, "pipe-strict", "pipe-linux")),
		setup: func(t *trial) {
			t.serverConfig.ClientAuth = tls.RequireAnyClientCert
			t.serverConfig.VerifyConnection = func(tls.ConnectionState) error {
				t.server.settle()
				return nil
			}
		},
		slowReader: true,
		client:     uploader,
		server:     reader,
	}
}

func resumeThenUpload() Scenario {
	return Scenario{
		Name:       "resume-then-upload",
		About:      "the same on a resumed session, where crypto/tls sends the ticket in the middle of its handshake, client certificate or not",
		Threat:     DataLoss,
		On:         slices.Concat(on(256<<10, "tcp"), on(64<<10, "pipe-strict", "pipe-linux")),
		slowReader: true,
		client: func(s *side) error {
			if err := s.do("first connection", func() error { return firstConnection(s.trial) }); err != nil {
				return err
			}
			conn := tls.Client(&exactReader{Conn: s.transport}, s.trial.clientConfig)
			if err := s.begin(conn); err != nil {
				return err
			}
			if !conn.ConnectionState().DidResume {
				return notHere("the server did not resume its session")
			}
			return uploadOver(s, conn, s.trial.size)
		},
		server: reader,
	}
}

// firstConnection gets the client a ticket: the server answers one byte, over a pipe with room for all.
func firstConnection(t *trial) error {
	room := membio.PipeSide{SendBuffer: 1 << 16, ReceiveBuffer: 1 << 16}
	a, b := membio.Pipe(membio.PipeOptions{A: room, B: room})
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-over:
		case <-t.stopped:
		}
		a.Close()
		b.Close()
	}()
	server := t.stack.Server(b, t.serverConfig)
	failed := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err == nil {
			_, err = server.Write([]byte{0})
		}
		failed <- err
	}()
	client := tls.Client(a, t.clientConfig)
	_, readErr := io.ReadFull(client, make([]byte, 1))
	if err := errors.Join(readErr, <-failed); err != nil {
		return fmt.Errorf("torture: no first connection: %w", err)
	}
	return nil
}

// uploader is a client that reads while the handshake lasts, and never again.
func uploader(s *side) error {
	return uploadOver(s, s.anyClient(), s.trial.size)
}

func uploadOver(s *side, conn Conn, size int64) error {
	if err := s.begin(conn); err != nil {
		return err
	}
	if err := s.send(size); err != nil {
		return err
	}
	if s.trial.scenario.slowReader {
		s.awaitPause()
	}
	return s.close()
}

// reader is the server of an upload.
func reader(s *side) error {
	if err := s.begin(s.underTest()); err != nil {
		return err
	}
	return readToEnd(s)
}

func readToEnd(s *side) error {
	if err := s.receiveAll(); err != nil {
		return err
	}
	return s.closeAfterPeer()
}
