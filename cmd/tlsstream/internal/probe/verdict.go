package probe

import "fmt"

// smallBuffers is more than the socket buffers of a default Linux hold back from a writer: whatever comes unasked and is
// larger may block a server whose client writes a whole request before it reads.
const smallBuffers = 16 << 10

func verdicts(r *Report) []Verdict {
	return []Verdict{writeOnly(r, UseUploads), writeOnly(r, UseLogs), requestResponse(r)}
}

// writeOnly is for clients that write, and close without reading.
func writeOnly(r *Report, use string) Verdict {
	v := Verdict{Use: use, Verdict: Safe, Reasons: []string{}}
	if n := r.Tickets.UnaskedCount; n > 0 {
		v.Verdict = Unsafe
		v.Reasons = append(v.Reasons, fmt.Sprintf("%s unasked; a client that closes without reading %s resets the connection, and loses what it has not sent yet",
			comes(n, r.Tickets.UnaskedBytes), them(n)))
	}
	switch r.KeyUpdate.Answer {
	case AtOnce:
		v.Verdict = Unsafe
		reason := "each key update of the client is answered at once; unread answers do the same harm"
		if len(v.Reasons) == 0 {
			reason = "each key update of the client is answered at once; a client that closes without reading the answers resets the connection, and loses what it has not sent yet"
		}
		v.Reasons = append(v.Reasons, reason)
	case Refused:
		v.Verdict = Unsafe
		v.Reasons = append(v.Reasons, "the connection ends when the client updates its keys")
	case Untold:
		if v.Verdict == Safe {
			v.Verdict = UnknownSafety
			v.Reasons = append(v.Reasons, "what it does about a key update could not be seen: "+r.KeyUpdate.Note)
		}
	}
	if v.Verdict == Safe {
		v.Reasons = append(v.Reasons, "nothing is sent before the server itself writes")
	}
	return v
}

// requestResponse is for clients that read a response to what they wrote.
func requestResponse(r *Report) Verdict {
	v := Verdict{Use: UseHTTP, Verdict: Safe, Reasons: []string{}}
	switch {
	case r.StartTLS != "":
		v.Verdict = NotApplicable
		v.Reasons = append(v.Reasons, r.StartTLS+" is not HTTP")
		return v
	case r.Tickets.UnaskedBytes > smallBuffers:
		v.Verdict = Unsafe
		v.Reasons = append(v.Reasons, fmt.Sprintf("%s unasked: with small buffers, a client that writes all of a request first, and this server, wait for each other",
			comes(r.Tickets.UnaskedCount, r.Tickets.UnaskedBytes)))
	case r.Tickets.UnaskedCount > 0:
		v.Reasons = append(v.Reasons, "the client reads the response, and the tickets in front of it")
	default:
		v.Reasons = append(v.Reasons, "the client reads the response")
	}
	if r.End.After == AfterBytes && r.End.Ending == EndFIN {
		v.Verdict = Unsafe
		v.Reasons = append(v.Reasons, "the server ends its stream without close_notify: a response that ends with the connection may be cut, and nobody notices")
	}
	return v
}

func comes(n, bytes int) string {
	if n == 1 {
		return fmt.Sprintf("a ticket (%d bytes) comes", bytes)
	}
	return fmt.Sprintf("%d tickets (%d bytes) come", n, bytes)
}

func them(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}
