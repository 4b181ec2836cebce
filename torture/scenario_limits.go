package torture

import "fmt"

// What TLS cannot do as TCP does, on any stack. These scenarios show it, and see to it that nothing worse happens.

func limitCloseNotify() Scenario {
	return Scenario{
		Name:       "limit-close-notify",
		About:      "the server ends its half before a client that never reads does: its close_notify lies unread, so the client's close resets",
		Reports:    []string{"openssl/openssl#7948"},
		Threat:     DataLoss,
		On:         alsoOn("tcp", "pipe-strict", "pipe-linux"),
		slowReader: true,
		setup:      noTickets,
		client:     uploader,
		server: tested(func(s *side) error {
			if err := s.closeWrite(); err != nil {
				return err
			}
			return readToEnd(s)
		}),
		oracle: func(client, server told) Verdict {
			v := allArrives(client, server)
			if v.Class == Lost || v.Class == SilentLoss || v.Class == WrongError && panicked(client, server).Class == OK {
				v.Class = Limited
				v.Detail = "a close_notify of 24 bytes is unread data, a FIN is not: " + v.Detail
			}
			return v
		},
	}
}

// wholeRecord and cutRecord are the contents of the two records of limit-record, in bytes.
const (
	wholeRecord = 1000
	cutRecord   = 4000
)

func limitRecord() Scenario {
	return Scenario{
		Name:   "limit-record",
		About:  "a reset in the middle of a record: what came of it is not delivered, as TCP would; what came before is, and the server is told",
		Threat: DataLoss,
		On:     alsoOn("tcp", "pipe-linux"),
		setup:  noTickets,
		client: func(s *side) error {
			p := s.scripted()
			if err := s.begin(p); err != nil {
				return err
			}
			if err := s.send(wholeRecord); err != nil {
				return err
			}
			content := make([]byte, cutRecord)
			s.out.Read(content)
			missing := 1 + s.trial.random().IntN(cutRecord)
			if err := s.do("write a part", func() error { return p.sendPart(missing, data(content)) }); err != nil {
				return err
			}
			s.told.sent += cutRecord
			s.settle() // until the server has taken all from the kernel
			return s.do("reset", p.reset)
		},
		server: tested(readToEnd),
		oracle: func(client, server told) Verdict {
			switch v := allArrives(client, server); {
			case client.err == nil && server.err != nil && server.received == wholeRecord && panicked(client, server).Class == OK:
				return Verdict{Class: Limited, LostBytes: cutRecord, Detail: fmt.Sprintf(
					"a record is all or nothing: a part of one of %d bytes came, and none was delivered; the server was told %s", cutRecord, outcome(server.err))}
			case server.err == nil:
				v.Class = SilentLoss
				return v
			default:
				return v
			}
		},
	}
}
