package torture

// Record and message types, and what is in them: RFC 8446 sections 5.1, 4, 4.6.1, 4.6.3 and 6.
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeApplicationData  = 23

	headerBytes   = 5
	maxPlaintext  = 1 << 14
	maxCiphertext = maxPlaintext + 256

	messageHeader      = 4
	messageTicket      = 4
	messageKeyUpdate   = 24
	updateNotRequested = 0
	updateRequested    = 1

	alertWarning = 1
	alertFatal   = 2
)

var closeNotify = []byte{alertWarning, 0}

// A record is what a puppet puts on the wire, or finds there.
type record struct {
	kind    byte // the inner type
	content []byte
	padding int  // zeros behind the type
	raw     bool // the content is not protected, nor framed when it is sent
}

// data is application data; an empty record if content is.
func data(content []byte) record { return record{kind: typeApplicationData, content: content} }

// padded adds n zeros to a record (RFC 8446 5.4).
func padded(r record, n int) record {
	r.padding = n
	return r
}

// alert is an alert of any level.
func alert(level, code byte) record {
	return record{kind: typeAlert, content: []byte{level, code}}
}

// garbage goes out as it is, without protection.
func garbage(b []byte) record { return record{content: b, raw: true} }

// handshake is a record with all the messages in it.
func handshake(messages ...[]byte) record {
	r := record{kind: typeHandshake}
	for _, m := range messages {
		r.content = append(r.content, m...)
	}
	return r
}

// fragments cuts a record into records of at most size bytes.
func fragments(r record, size int) []record {
	var cut []record
	for len(r.content) > size {
		cut = append(cut, record{kind: r.kind, content: r.content[:size]})
		r.content = r.content[size:]
	}
	return append(cut, r)
}

// keyUpdate is a record with one KeyUpdate. Those behind it are under the next key.
func keyUpdate(request bool) record { return handshake(keyUpdateMessage(request)) }

func keyUpdateMessage(request bool) []byte {
	if request {
		return []byte{messageKeyUpdate, 0, 0, 1, updateRequested}
	}
	return []byte{messageKeyUpdate, 0, 0, 1, updateNotRequested}
}

// ticketMessage is a NewSessionTicket that holds size bytes, at most 65,535. nonce tells it from others.
func ticketMessage(size int, nonce byte) []byte {
	const (
		lifetime = 4
		ageAdd   = 4
	)
	body := []byte{lifetime - 1: 60}
	body = append(body, make([]byte, ageAdd)...)
	body = append(body, 1, nonce)
	body = append(body, byte(size>>8), byte(size))
	body = append(body, make([]byte, size)...)
	body = append(body, 0, 0) // no extensions
	n := len(body)
	return append([]byte{messageTicket, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

// tickets are n tickets of size bytes, each in as many records as it needs.
func tickets(n, size int) []record {
	var records []record
	for i := range n {
		records = append(records, fragments(handshake(ticketMessage(size, byte(i))), maxPlaintext)...)
	}
	return records
}
