package ticketdefer

// Deferral tells whether post-handshake messages are being held, and if not,
// why not.
type Deferral uint8

const (
	DeferralWaiting    Deferral = iota // the handshake has not come so far
	DeferralReady                      // the traffic secret is here; nothing has been sealed under it yet
	DeferralOn                         // tickets and KeyUpdate answers wait for the application
	DeferralTLS12                      // TLS 1.2 or older: there is nothing to defer
	DeferralNoSecret                   // sealed records were written and no traffic secret came: the Config was not wrapped, or ECH hid the client_random
	DeferralUnopened                   // records did not open under the secrets that came
	DeferralNotRecords                 // what was written is not TLS
)

func (d Deferral) String() string {
	switch d {
	case DeferralWaiting:
		return "waiting for the handshake"
	case DeferralReady:
		return "ready"
	case DeferralOn:
		return "on"
	case DeferralTLS12:
		return "off: TLS 1.2 or older"
	case DeferralNoSecret:
		return "off: no traffic secret arrived (was the Config wrapped?)"
	case DeferralUnopened:
		return "off: records do not open under the traffic secrets that arrived"
	case DeferralNotRecords:
		return "off: what was written is not TLS"
	}
	return "unknown"
}

// Stats are counters of one connection's outbound direction.
type Stats struct {
	Deferral Deferral

	HeldRecords int // records that wait now
	HeldBytes   int // their bytes

	ReleasedRecords int64 // records that waited and were sent; change_cipher_spec is not counted
	ReleasedBytes   int64

	KeyUpdates          int64 // KeyUpdate messages the TLS stack wrote
	CollapsedKeyUpdates int64 // those of them that an earlier, held one stands for
	Alerts              int64 // alerts the TLS stack wrote, as far as they can be told
	ForcedReleases      int64 // times that held records had to leave early, because a bound was reached
}
