package torture

const (
	// updateEvery is how many bytes of an upload follow each KeyUpdate request.
	updateEvery = 64 << 10

	// floodShare is the part of a plan's size that a flood sends: each byte of it takes two records.
	floodShare = 512
)

func uploadKeyUpdate() Scenario {
	return Scenario{
		Name:   "upload-key-update",
		About:  "no tickets; the client requests a KeyUpdate before its data and every 64 KiB, writes, closes and never reads",
		Threat: DataLoss,
		On:     []On{{Network: "tcp", MinSize: 256 << 10}, {Network: "pipe-strict", MinSize: 64 << 10}, {Network: "pipe-linux", MinSize: 128 << 10}},
		setup:  noTickets,
		client: func(s *side) error {
			return uploadOver(s, updatingPuppet(s, updateEvery), s.trial.size)
		},
		slowReader: true,
		server:     reader,
	}
}

func keyUpdateFlood() Scenario {
	return Scenario{
		Name:   "key-update-flood",
		About:  "no tickets; the client sends one byte and one KeyUpdate request for each 512 bytes of size, and never reads",
		Threat: Blocking,
		On:     []On{{Network: "tcp-small", MinSize: 512 << 10}, {Network: "pipe-strict", MinSize: 768 << 10}, {Network: "pipe-linux", MinSize: 768 << 10}},
		setup:  noTickets,
		client: func(s *side) error {
			return uploadOver(s, updatingPuppet(s, 1), max(1, s.trial.size/floodShare))
		},
		server: reader,
	}
}

func noTickets(t *trial) {
	t.serverConfig.SessionTicketsDisabled = true
	t.clientConfig.ClientSessionCache = nil
}

// updatingPuppet is a client that requests a KeyUpdate before its data, and after each so many bytes of it.
func updatingPuppet(s *side, every int) *puppet {
	p := newPuppet(s.transport, s.trial.clientConfig)
	p.updateEvery = every
	return p
}
