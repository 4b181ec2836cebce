package torture

import (
	"crypto/tls"
	"slices"
)

func hugeTicket() Scenario {
	return Scenario{
		Name:    "huge-ticket",
		About:   "a large client certificate makes a ticket that exceeds the buffers; the client writes all before it reads the reply",
		Reports: []string{"openssl/openssl#7967"},
		Threat:  Blocking,
		On:      slices.Concat(on(64<<10, "tcp-small"), on(128<<10, "pipe-strict", "pipe-linux")),
		setup: func(t *trial) {
			t.serverConfig.ClientAuth = tls.RequireAnyClientCert
			t.clientConfig.Certificates = []tls.Certificate{t.identity.bigOne}
		},
		client: func(s *side) error { return request(s, tls.Client(s.transport, s.trial.clientConfig), s.trial.size) },
		server: func(s *side) error { return respond(s, s.trial.size) },
	}
}

const (
	// ticketsBytes is what the server of many-tickets sends.
	ticketsBytes = 96 << 10

	// ticketsBetween is how many tickets come between two pieces of data. crypto/tls refuses 17 in a row.
	ticketsBetween = 8
)

func manyTickets() Scenario {
	return Scenario{
		Name:   "many-tickets",
		About:  "a client under test is sent tickets of 16 to 40,000 bytes by the dozen, in one record or over several, between its data",
		Threat: DataLoss,
		On:     alsoOn("tcp", "pipe-strict", "segments", "trickle"),
		client: tested(readToEnd),
		server: func(s *side) error {
			p := s.scripted()
			if err := s.begin(p); err != nil {
				return err
			}
			for size, left := 16, min(s.trial.size, ticketsBytes); left > 0; size = size*3%40_000 + 16 {
				flight := append(tickets(ticketsBetween-2, size%500), tickets(1, size)...)
				flight = append(flight, handshake(ticketMessage(10, 100), ticketMessage(size%1000, 101)))
				if err := s.do("write tickets", func() error { return p.send(flight...) }); err != nil {
					return err
				}
				n := min(left, chunkBytes)
				if err := s.send(n); err != nil {
					return err
				}
				left -= n
			}
			return s.close()
		},
	}
}
