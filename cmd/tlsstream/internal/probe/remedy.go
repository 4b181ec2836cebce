package probe

import (
	"slices"
	"strings"
)

// A product is a server that is known by what it says of itself.
type product struct {
	name    string
	mark    string // in a banner, a header or a page, in lower case
	tickets string // what keeps it from sending tickets unasked; tried with the real one
}

// NumTickets is a command of SSL_CONF_cmd, so each server on OpenSSL (1.1.1 or newer) that loads openssl.cnf takes it.
// What is called "session tickets off" is SSL_OP_NO_TICKET almost everywhere, and makes a TLS 1.3 server send tickets
// with a session's number in place of the session: smaller ones, as many, at the same time.
const (
	inFile   = "NumTickets = 0 in openssl.cnf, in the section that ssl_conf's system_default names (OPENSSL_CONF tells OpenSSL which file)"
	notTheir = "session tickets \"off\" only makes them smaller"
)

var products = []product{
	{"nginx", "server: nginx", "nginx: ssl_conf_command NumTickets 0; (ssl_session_tickets off only makes them smaller)"},
	{"ProFTPD", "proftpd", "ProFTPD: " + inFile + ", and, since nothing resumes then, TLSOptions NoSessionReuseRequired; or TLSProtocol TLSv1.2; TLSSessionTickets off changes nothing"},
	{"vsFTPd", "vsftpd", "vsFTPd: " + inFile + ", and, since nothing resumes then, require_ssl_reuse=NO"},
	{"Pure-FTPd", "pure-ftpd", ""}, // it sends none
	{"openssl s_server", "s_server ", "openssl s_server: -num_tickets 0"},
	{"gnutls-serv", "gnutls", "gnutls-serv: --noticket; GnuTLS in code: GNUTLS_NO_TICKETS in gnutls_init"},
}

// others are for servers that do not say what they are.
var others = []string{
	"haproxy, and any other on OpenSSL: " + inFile + "; " + notTheir,
	"nginx: ssl_conf_command NumTickets 0;",
	"stunnel: config = NumTickets:0",
	"OpenSSL in code: SSL_CTX_set_num_tickets(ctx, 0)",
	"GnuTLS in code: GNUTLS_NO_TICKETS in gnutls_init",
}

const (
	goTickets   = "Go: SessionTicketsDisabled in tls.Config; or tlsstream.NewListener in place of tls.NewListener, which keeps tickets and defers them"
	goReplies   = "Go: tlsstream.NewListener in place of tls.NewListener, or ticketdefer.WrapListener and WrapConfig; SessionTicketsDisabled does not help"
	behindProxy = "any server: put tlsstream proxy in front of it"
	endProperly = "the server has to end its stream: SSL_shutdown, gnutls_bye, tls.Conn.Close; a Content-Length, or chunks, help its clients, too"
	noRefusals  = "whatever is in between or in the server that refuses key updates breaks RFC 8446 4.6.3: update it"
)

// software is what the server calls itself, in plain text or in its answer.
func software(texts ...[]byte) string {
	for _, text := range texts {
		lower := strings.ToLower(string(text))
		i := slices.IndexFunc(products, func(p product) bool { return strings.Contains(lower, p.mark) })
		if i >= 0 {
			return products[i].name
		}
	}
	return ""
}

// remedies are what to configure so that the verdicts get better.
func remedies(r *Report) []string {
	list := []string{}
	tickets, replies := r.Tickets.UnaskedCount > 0, r.KeyUpdate.Answer == AtOnce
	i := slices.IndexFunc(products, func(p product) bool { return p.name == r.Software })
	switch {
	case replies:
		list = append(list, goReplies)
	case tickets && i >= 0 && products[i].tickets != "":
		list = append(list, products[i].tickets)
	case tickets && r.Tickets.When == FirstFlight: // nobody else is known to
		list = append(list, goTickets)
	case tickets:
		list = append(list, others...)
	}
	if r.KeyUpdate.Answer == Refused {
		list = append(list, noRefusals)
	}
	if r.Verdicts[2].Verdict == Unsafe && r.End.Ending == EndFIN {
		list = append(list, endProperly)
	}
	if len(list) > 0 {
		list = append(list, behindProxy)
	}
	return list
}
