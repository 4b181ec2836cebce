package torture

import "crypto/tls"

// The uploads have a client that writes, closes and never reads. RFC 8446 lets the server send tickets to it all the
// same. Reported as curl#6149, proftpd#959, poco#2776, openssl#10880 and rsyslog#5627, among others.

func upload() Scenario {
	return Scenario{
		Name:       "upload",
		About:      "a client writes, closes and never reads; the server reads slowly",
		Threat:     DataLoss,
		On:         []On{{Network: "tcp", MinSize: 256 << 10}, {Network: "pipe-strict", MinSize: 64 << 10}, {Network: "pipe-linux", MinSize: 64 << 10}},
		slowReader: true,
		client:     uploader,
		server:     reader,
	}
}

func uploadFastReader() Scenario {
	return Scenario{
		Name:   "upload-fast-reader",
		About:  "the same, and the server reads as fast as it can",
		Threat: DataLoss,
		On:     []On{{Network: "tcp", MinSize: 256 << 10}},
		// A race that crypto/tls mostly loses, so more trials.
		TrialsPerRun: 4,

		client: uploader,
		server: reader,
	}
}

func uploadClientCert() Scenario {
	return Scenario{
		Name:   "upload-client-cert",
		About:  "the same with a client certificate: crypto/tls sends the ticket last, in a write of its own",
		Threat: DataLoss,
		On:     []On{{Network: "tcp", MinSize: 256 << 10}, {Network: "pipe-strict", MinSize: 64 << 10}, {Network: "pipe-linux", MinSize: 64 << 10}},
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
		On:     []On{{Network: "tcp", MinSize: 256 << 10}, {Network: "pipe-strict", MinSize: 64 << 10}, {Network: "pipe-linux", MinSize: 64 << 10}},
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

// uploader is a client as most programs are: it reads one record at a time, and only while the handshake lasts.
func uploader(s *side) error {
	return uploadOver(s, tls.Client(&exactReader{Conn: s.transport}, s.trial.clientConfig), s.trial.size)
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
	if err := s.begin(s.trial.stack.Server(s.transport, s.trial.serverConfig)); err != nil {
		return err
	}
	if err := s.receiveAll(); err != nil {
		return err
	}
	return s.closeAfterPeer()
}
