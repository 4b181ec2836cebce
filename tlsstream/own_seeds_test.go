package tlsstream_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// What crypto/tls would send for a record that nobody may send, ours sends: a table of the
// fuzz target's seeds, with what becomes of each, so that the target is not blind.
func TestOwnRecordsRefuseWhatCryptoTLSRefuses(t *testing.T) {
	t.Parallel()
	alerts := map[string]int{}
	for _, c := range ownCases {
		for _, script := range ownSeeds() {
			compareOwn(t, c, script, 1000)
			o := ownVictim(t, c).play(t, script, 1000)
			alerts[fmt.Sprintf("%s %d", o.end, o.alerts)]++
		}
	}
	for _, a := range []tlsstream.Alert{
		tlsstream.AlertUnexpectedMessage, tlsstream.AlertBadRecordMAC, tlsstream.AlertRecordOverflow, tlsstream.AlertIllegalParameter,
		tlsstream.AlertDecodeError, tlsstream.AlertProtocolVersion, tlsstream.AlertInternalError,
	} {
		if alerts[fmt.Sprintf("local [%d]", a)] == 0 {
			t.Errorf("no script makes a victim send %v: %v", a, alerts)
		}
	}
	for _, end := range []string{"truncated []", "close_notify []", "remote 40 []"} {
		if alerts[end] == 0 {
			t.Errorf("no script ends by %s: %v", end, alerts)
		}
	}
}

// ownSeeds are scripts for an ownScript.
func ownSeeds() [][]byte {
	ticket := []byte{4, 1, 2, 9, 9, 10, 10, 0, 2}
	seeds := [][]byte{
		nil,
		{0, 127, 255, 0, 0, 0, 10, 10, 1, 5}, // full size
		{0, 128, 1, 0, 0, 1, 0, 0, 0, 0},     // too long inside
		{0, 128, 0, 1, 1},                    // too long by its padding
		{0, 127, 127, 1, 1},
		{0, 129, 200, 0, 0},                       // still longer
		{0, 130, 200, 0, 0},                       // too long outside
		{0, 0, 5, 2, 200, 2, 0, 3, 4, 1, 2, 3, 4}, // padding, KeyUpdates
		{2, 2, 2, 2, 0, 0, 3, 0, 0},               // KeyUpdates with and without request
		{6, 1, 0, 0, 0, 1, 0, 0},                  // close_notify, and data behind it
		{6, 2, 40},                                // handshake_failure
		{6, 1, 90, 0, 0, 1, 0, 0},                 // user_canceled
		{6, 1},                                    // short
		{7, 1, 1, 1, 0, 0, 9, 0, 0},               // change_cipher_spec
		{7, 2, 1, 1, 1},                           // long
		{7, 1, 1, 0},                              // sealed
		{7, 1, 2, 0},                              // sealed, and wrong
		{8, 0, 3, 1, 2, 3},                        // content type 0 is padding
		{8, 0, 0},                                 // nothing but padding
		{8, 24, 3, 1, 2, 3},                       // unknown content type
		{8, 22, 0},                                // empty handshake record
		{9, 5, 24, 0, 0, 1, 2},                    // KeyUpdate with request 2
		{9, 6, 24, 0, 0, 2, 0, 0},                 // too long for a KeyUpdate
		{9, 4, 0, 0, 0, 0},                        // HelloRequest
		{9, 3, 24, 0, 0, 9, 2, 1, 1},              // KeyUpdate in pieces
		{9, 3, 24, 0, 0, 0, 0, 9, 0, 0},           // data in between
		{9, 3, 4, 0, 0, 13},                       // and cut
		{10, 4, 1, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9},          // 64 KiB and no more
		{10, 4, 1, 0, 1, 0},                                     // more
		{10, 11, 4, 0, 0, 0, 10, 11, 4, 0, 1, 0},                // a Certificate may be longer
		{10, 11, 4, 0, 1, 0},                                    // but not so long
		{10, 1, 0, 0, 2, 2, 1, 2},                               // a bad ClientHello
		{10, 31, 0, 0, 2, 2, 1, 2},                              // unknown
		{11, 5, 1, 2, 3, 4, 5, 0, 1, 0, 0, 5, 0, 0},             // outer type
		{11, 5, 1, 2, 3, 4, 5, 1, 1},                            // version
		{11, 5, 1, 2, 3, 4, 5, 9, 1},                            // body
		{11, 5, 1, 2, 3, 4, 5, 3, 255},                          // length
		{12, 23, 3, 3, 0, 0},                                    // no tag
		{12, 23, 3, 3, 255, 255},                                // too long
		{12, 128, 3, 3, 0, 1},                                   // SSLv2
		{12, 23, 3, 1, 0, 1},                                    // TLS 1.0
		{12, 20, 3, 3, 0, 0},                                    // empty change_cipher_spec
		{13, 3, 1, 2, 3},                                        // cut
		{29, 3, 1, 2, 3},                                        // cut elsewhere
		{14, 16, 0, 0, 1, 0, 0, 14, 17},                         // useless records
		{15, 0, 0, 0, 1, 0, 0},                                  // KeyUpdate alone
		{15, 5, 24, 0, 0, 1, 0},                                 // two in a record
		append(append([]byte{}, ticket...), ticket...),          // tickets
		append(append([]byte{}, ticket...), 0, 0, 3, 0, 0),      // and data
		{4, 1, 0, 0, 9, 0, 3},                                   // empty ticket
		{4, 0, 0, 3, 3, 0, 3},                                   // lifetime 0
		{4, 200, 0, 3, 3, 0, 0},                                 // lifetime of years
		{4, 1, 0, 255, 255, 0, 3, 0, 0, 3, 0, 0},                // a ticket of 65,025 bytes
		{4, 1, 0, 3, 3, 8, 0, 42, 0, 4, 0, 0, 0, 0, 0},          // early_data
		{4, 1, 0, 3, 3, 7, 0, 42, 0, 3, 0, 0, 0, 0},             // short
		{4, 1, 0, 3, 3, 3, 0, 42, 0, 0},                         // no extension
		{5, 1, 0, 3, 3, 0, 5, 24, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0}, // a ticket and a KeyUpdate
	}
	flood := bytes.Repeat([]byte{2, 2}, 16)
	seeds = append(seeds, append(flood, 0, 0, 1, 0, 0), append(flood, 2, 2))
	return seeds
}
