package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// registry is the registry "TLS Alerts" of IANA: RFC 8446 section 6 and B.2, with the numbers that it reserves named as
// in the RFCs before it.
const registry = `
0   close_notify
10  unexpected_message
20  bad_record_mac
21  decryption_failed
22  record_overflow
30  decompression_failure
40  handshake_failure
41  no_certificate
42  bad_certificate
43  unsupported_certificate
44  certificate_revoked
45  certificate_expired
46  certificate_unknown
47  illegal_parameter
48  unknown_ca
49  access_denied
50  decode_error
51  decrypt_error
52  too_many_cids_requested
60  export_restriction
70  protocol_version
71  insufficient_security
80  internal_error
86  inappropriate_fallback
90  user_canceled
100 no_renegotiation
109 missing_extension
110 unsupported_extension
111 certificate_unobtainable
112 unrecognized_name
113 bad_certificate_status_response
114 bad_certificate_hash_value
115 unknown_psk_identity
116 certificate_required
117 general_error
120 no_application_protocol
121 ech_required
`

// alertConstants are all of them.
var alertConstants = []tlsstream.Alert{
	tlsstream.AlertCloseNotify,
	tlsstream.AlertUnexpectedMessage,
	tlsstream.AlertBadRecordMAC,
	tlsstream.AlertDecryptionFailed,
	tlsstream.AlertRecordOverflow,
	tlsstream.AlertDecompressionFailure,
	tlsstream.AlertHandshakeFailure,
	tlsstream.AlertNoCertificate,
	tlsstream.AlertBadCertificate,
	tlsstream.AlertUnsupportedCertificate,
	tlsstream.AlertCertificateRevoked,
	tlsstream.AlertCertificateExpired,
	tlsstream.AlertCertificateUnknown,
	tlsstream.AlertIllegalParameter,
	tlsstream.AlertUnknownCA,
	tlsstream.AlertAccessDenied,
	tlsstream.AlertDecodeError,
	tlsstream.AlertDecryptError,
	tlsstream.AlertTooManyCIDsRequested,
	tlsstream.AlertExportRestriction,
	tlsstream.AlertProtocolVersion,
	tlsstream.AlertInsufficientSecurity,
	tlsstream.AlertInternalError,
	tlsstream.AlertInappropriateFallback,
	tlsstream.AlertUserCanceled,
	tlsstream.AlertNoRenegotiation,
	tlsstream.AlertMissingExtension,
	tlsstream.AlertUnsupportedExtension,
	tlsstream.AlertCertificateUnobtainable,
	tlsstream.AlertUnrecognizedName,
	tlsstream.AlertBadCertificateStatusResponse,
	tlsstream.AlertBadCertificateHashValue,
	tlsstream.AlertUnknownPSKIdentity,
	tlsstream.AlertCertificateRequired,
	tlsstream.AlertGeneralError,
	tlsstream.AlertNoApplicationProtocol,
	tlsstream.AlertECHRequired,
}

func TestAlertsAreThoseOfTheRegistry(t *testing.T) {
	var got strings.Builder
	got.WriteByte('\n')
	for _, a := range alertConstants {
		fmt.Fprintf(&got, "%-3d %s\n", uint8(a), a)
	}
	if diff := cmp.Diff(registry, got.String()); diff != "" {
		t.Errorf("-registry +constants:\n%s", diff)
	}
	named := 0
	for n := range 256 {
		if !strings.ContainsAny(tlsstream.Alert(n).String(), "()") {
			named++
		}
	}
	if named != len(alertConstants) {
		t.Errorf("%d alerts have names, want those %d", named, len(alertConstants))
	}
}

// crypto/tls has the same numbers, under the same words or under its own.
func TestAlertsAreThoseOfCryptoTLS(t *testing.T) {
	own := map[tlsstream.Alert]string{
		tlsstream.AlertBadRecordMAC:         "bad record MAC",
		tlsstream.AlertCertificateRevoked:   "revoked certificate",
		tlsstream.AlertCertificateExpired:   "expired certificate",
		tlsstream.AlertCertificateUnknown:   "unknown certificate",
		tlsstream.AlertUnknownCA:            "unknown certificate authority",
		tlsstream.AlertDecodeError:          "error decoding message",
		tlsstream.AlertDecryptError:         "error decrypting message",
		tlsstream.AlertProtocolVersion:      "protocol version not supported",
		tlsstream.AlertInsufficientSecurity: "insufficient security level",
		tlsstream.AlertUnknownPSKIdentity:   "unknown PSK identity",
		tlsstream.AlertECHRequired:          "encrypted client hello required",
		// It does not know these.
		tlsstream.AlertNoCertificate:        "alert(41)",
		tlsstream.AlertTooManyCIDsRequested: "alert(52)",
		tlsstream.AlertGeneralError:         "alert(117)",
	}
	for _, a := range alertConstants {
		want, ok := own[a]
		if !ok {
			want = strings.ReplaceAll(a.String(), "_", " ")
		}
		if got := tls.AlertError(a).Error(); got != "tls: "+want {
			t.Errorf("%v (%d): %q in crypto/tls, want %q", a, uint8(a), got, want)
		}
	}
}

func TestAlertNumbersWithoutName(t *testing.T) {
	names := map[int]string{1: "alert(1)", 200: "alert(200)", 223: "alert(223)", 224: "application(224)", 255: "application(255)"}
	for n, want := range names {
		if got := tlsstream.Alert(n).String(); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestAlertApplicationIsThePrivateRange(t *testing.T) {
	for n := -1; n <= 256; n++ {
		got, panicked := func() (a tlsstream.Alert, panicked bool) {
			defer func() { panicked = recover() != nil }()
			return tlsstream.AlertApplication(n), false
		}()
		if want := n < 224 || n > 255; panicked != want || !panicked && int(got) != n {
			t.Errorf("%d: alert %d, panicked: %v", n, got, panicked)
		}
	}
}

// Every alert that is fatal reaches the peer's AlertError under its name, with what is beneath.
func TestEveryFatalAlertArrives(t *testing.T) {
	for _, a := range alertConstants {
		if a == tlsstream.AlertCloseNotify || a == tlsstream.AlertUserCanceled {
			continue
		}
		clientConfig, serverConfig := abortConfigs()
		them, us := abortEngines(t, tlsstream.Options{}, clientConfig, serverConfig)
		if err := us.Abort(a); err != nil {
			t.Error(err)
		}
		abortCarry(t, us, them, -1)
		_, err := readEngine(them)
		var alert *tlsstream.AlertError
		var beneath *net.OpError
		if !errors.As(err, &alert) || !errors.As(err, &beneath) || alert.Alert != a || !alert.Remote {
			t.Errorf("%v: %v", a, err)
			continue
		}
		if want := fmt.Sprintf("%v (%d)", a, uint8(a)); !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not contain %q", err, want)
		}
	}
}

// close_notify and user_canceled do not say that anything is wrong (RFC 8446 6.1): an abort with them would pass for a
// stream that is whole.
func TestAbortRefusesAlertsThatAreNotFatal(t *testing.T) {
	for _, a := range []tlsstream.Alert{tlsstream.AlertCloseNotify, tlsstream.AlertUserCanceled} {
		for _, p := range abortPaths {
			t.Run(fmt.Sprintf("%v/%s", a, p.name), func(t *testing.T) {
				client, server := abortConfigs()
				us, them := abortPair(t, p, abortRoles[0], client, server, nil)
				bare := make(chan int, 1)
				go func() {
					p, _ := io.ReadAll(them.NetConn())
					bare <- len(p)
				}()
				if err := tlsstream.Abort(us, a); err == nil {
					t.Error("Abort reports success")
				}
				if n := <-bare; n != 0 {
					t.Errorf("the peer received %d bytes, want a bare end", n)
				}
				if _, err := us.Write([]byte("late")); err == nil {
					t.Error("Write after it succeeded")
				}
			})
		}
		clientConfig, serverConfig := abortConfigs()
		_, us := abortEngines(t, tlsstream.Options{}, clientConfig, serverConfig)
		if err := us.Abort(a); err == nil || us.Pending() != 0 {
			t.Errorf("Engine: Abort: %v, %d bytes are due", err, us.Pending())
		}
	}
}
