package tlsstream

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
)

// An Alert is the number of a TLS alert: RFC 8446 section 6, and the registry
// "TLS Alerts" of IANA. In TLS 1.3 every alert but close_notify and
// user_canceled is fatal.
type Alert uint8

// The alerts, in the order of their numbers. Those that only TLS 1.2 and older
// use are there to be named when they arrive.
const (
	AlertCloseNotify                  Alert = 0
	AlertUnexpectedMessage            Alert = 10
	AlertBadRecordMAC                 Alert = 20
	AlertDecryptionFailed             Alert = 21
	AlertRecordOverflow               Alert = 22
	AlertDecompressionFailure         Alert = 30
	AlertHandshakeFailure             Alert = 40
	AlertNoCertificate                Alert = 41
	AlertBadCertificate               Alert = 42
	AlertUnsupportedCertificate       Alert = 43
	AlertCertificateRevoked           Alert = 44
	AlertCertificateExpired           Alert = 45
	AlertCertificateUnknown           Alert = 46
	AlertIllegalParameter             Alert = 47
	AlertUnknownCA                    Alert = 48
	AlertAccessDenied                 Alert = 49
	AlertDecodeError                  Alert = 50
	AlertDecryptError                 Alert = 51
	AlertTooManyCIDsRequested         Alert = 52
	AlertExportRestriction            Alert = 60
	AlertProtocolVersion              Alert = 70
	AlertInsufficientSecurity         Alert = 71
	AlertInternalError                Alert = 80
	AlertInappropriateFallback        Alert = 86
	AlertUserCanceled                 Alert = 90
	AlertNoRenegotiation              Alert = 100
	AlertMissingExtension             Alert = 109
	AlertUnsupportedExtension         Alert = 110
	AlertCertificateUnobtainable      Alert = 111
	AlertUnrecognizedName             Alert = 112
	AlertBadCertificateStatusResponse Alert = 113
	AlertBadCertificateHashValue      Alert = 114
	AlertUnknownPSKIdentity           Alert = 115
	AlertCertificateRequired          Alert = 116
	AlertGeneralError                 Alert = 117
	AlertNoApplicationProtocol        Alert = 120
	AlertECHRequired                  Alert = 121
)

var alertNames = map[Alert]string{
	AlertCloseNotify:                  "close_notify",
	AlertUnexpectedMessage:            "unexpected_message",
	AlertBadRecordMAC:                 "bad_record_mac",
	AlertDecryptionFailed:             "decryption_failed",
	AlertRecordOverflow:               "record_overflow",
	AlertDecompressionFailure:         "decompression_failure",
	AlertHandshakeFailure:             "handshake_failure",
	AlertNoCertificate:                "no_certificate",
	AlertBadCertificate:               "bad_certificate",
	AlertUnsupportedCertificate:       "unsupported_certificate",
	AlertCertificateRevoked:           "certificate_revoked",
	AlertCertificateExpired:           "certificate_expired",
	AlertCertificateUnknown:           "certificate_unknown",
	AlertIllegalParameter:             "illegal_parameter",
	AlertUnknownCA:                    "unknown_ca",
	AlertAccessDenied:                 "access_denied",
	AlertDecodeError:                  "decode_error",
	AlertDecryptError:                 "decrypt_error",
	AlertTooManyCIDsRequested:         "too_many_cids_requested",
	AlertExportRestriction:            "export_restriction",
	AlertProtocolVersion:              "protocol_version",
	AlertInsufficientSecurity:         "insufficient_security",
	AlertInternalError:                "internal_error",
	AlertInappropriateFallback:        "inappropriate_fallback",
	AlertUserCanceled:                 "user_canceled",
	AlertNoRenegotiation:              "no_renegotiation",
	AlertMissingExtension:             "missing_extension",
	AlertUnsupportedExtension:         "unsupported_extension",
	AlertCertificateUnobtainable:      "certificate_unobtainable",
	AlertUnrecognizedName:             "unrecognized_name",
	AlertBadCertificateStatusResponse: "bad_certificate_status_response",
	AlertBadCertificateHashValue:      "bad_certificate_hash_value",
	AlertUnknownPSKIdentity:           "unknown_psk_identity",
	AlertCertificateRequired:          "certificate_required",
	AlertGeneralError:                 "general_error",
	AlertNoApplicationProtocol:        "no_application_protocol",
	AlertECHRequired:                  "ech_required",
}

// firstPrivateAlert begins the range that IANA leaves to private use.
const firstPrivateAlert = 224

// AlertApplication returns the private-use alert n, from 224 to 255: a code that
// an application and its peers have agreed on. It panics for other numbers.
// Programs that do not know it report an unknown alert, and the transfer as
// failed.
func AlertApplication(n int) Alert {
	if n < firstPrivateAlert || n > 255 {
		panic(fmt.Sprintf("tlsstream: %d is not a private-use alert, 224 to 255", n))
	}
	return Alert(n)
}

// String returns the alert's name as RFC 8446 writes it, such as
// "internal_error", or "alert(200)".
func (a Alert) String() string {
	if name, ok := alertNames[a]; ok {
		return name
	}
	if a >= firstPrivateAlert {
		return fmt.Sprintf("application(%d)", uint8(a))
	}
	return fmt.Sprintf("alert(%d)", uint8(a))
}

// An AlertError tells that a connection ended by a fatal alert.
type AlertError struct {
	// Alert says what was wrong.
	Alert Alert
	// Remote is set if the peer sent the alert, and not if this side did.
	Remote bool
	// Reason is in the words of the side that sent the alert, if it used
	// [Conn.AbortWithReason]. It is UTF-8, and may contain whatever the peer likes,
	// sequences that steer a terminal too; Error shows it quoted.
	Reason string
	// Err is the error of crypto/tls, or of the transport, that it came with.
	Err error

	sender string // of a Remote one: "client" or "server"
}

func (e *AlertError) Error() string {
	s := "tlsstream: this side ended the connection with alert " + e.Alert.String()
	if e.Remote {
		s = "tlsstream: the peer ended the connection with alert " + e.Alert.String()
	}
	s += fmt.Sprintf(" (%d)", uint8(e.Alert))
	if e.Reason != "" {
		s += fmt.Sprintf(": %q", e.Reason)
	}
	if hint := alertHints[e.Alert]; hint != "" && e.Remote {
		if e.sender != "" {
			hint = strings.ReplaceAll(hint, "the peer", "the "+e.sender)
		}
		s += ": " + hint
	}
	if _, _, same := alertOf(e.Err); !e.Remote && e.Err != nil && !same {
		s += ": " + visible(e.Err)
	}
	return s
}

// alertHints say what a peer's alert means for this side, and what to do.
var alertHints = map[Alert]string{
	AlertHandshakeFailure:       "no cipher suite, group or signature algorithm in common; or, before TLS 1.3, the server wants a client certificate",
	AlertBadCertificate:         "this side's certificate was not accepted; where keys are pinned, your key is not on the peer's list",
	AlertUnsupportedCertificate: "the peer does not take certificates of this kind",
	AlertCertificateRevoked:     "this side's certificate has been revoked",
	AlertCertificateExpired:     "this side's certificate has expired, or is not valid yet",
	AlertUnknownCA:              "the peer does not trust the authority that signed this side's certificate",
	AlertAccessDenied:           "this side's certificate is valid, and is not allowed in",
	AlertProtocolVersion:        "no TLS version in common: compare MinVersion and MaxVersion of both sides",
	AlertUnrecognizedName:       "the server has no certificate for the name that was asked for",
	AlertCertificateRequired:    "the server wants a client certificate: set Certificates or GetClientCertificate",
	AlertNoApplicationProtocol:  "no ALPN protocol in common: compare NextProtos of both sides",
}

func (e *AlertError) Unwrap() error { return e.Err }

// alertOf finds the alert in an error of crypto/tls, which wraps it in a
// net.OpError that names the side, and whose type for it is not exported.
func alertOf(err error) (alert Alert, remote, ok bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" && op.Op != "local error" {
		return 0, false, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false, false
	}
	return Alert(v.Uint()), op.Op == "remote error", true
}

// withAlert makes an *AlertError of an error of crypto/tls with which an alert came
// or went.
func (e *Engine) withAlert(err error) error {
	if err == ErrWantRead { // the usual one, in the midst of traffic
		return err
	}
	alert, remote, ok := alertOf(err)
	if !ok {
		// Many errors do not say that an alert was sent, but the gate saw it.
		alert = Alert(e.wire.gate.FatalAlert())
	}
	if alert == AlertCloseNotify {
		return err
	}
	if last := e.lastAlert.Load(); last != nil && last.Err == err {
		return last // a final error stays the same
	}
	a := &AlertError{Alert: alert, Remote: remote, Err: err}
	if remote {
		e.noteRemoteAlert(alert)
		a.Reason = e.reasons.get()
		a.sender = peerName(e.client)
	}
	e.lastAlert.Store(a)
	return a
}
