package integration

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	netsmtp "net/smtp"
	"net/textproto"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A mailbox is a go-smtp backend, and the session of each of its connections.
type mailbox chan string

func (m mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return m, nil }
func (mailbox) Mail(string, *smtp.MailOptions) error          { return nil }
func (mailbox) Rcpt(string, *smtp.RcptOptions) error          { return nil }
func (mailbox) Reset()                                        {}
func (mailbox) Logout() error                                 { return nil }

func (m mailbox) Data(r io.Reader) error {
	mail, err := io.ReadAll(r)
	if err == nil {
		m <- strings.TrimSpace(string(mail))
	}
	return err
}

// A mail server with STARTTLS: go-smtp gets a wrapped listener and a wrapped configuration, and keeps its tickets.
func Example_smtp() {
	ca := tlstest.NewCA() // use your own certificate
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	mails := make(mailbox, 1)
	server := smtp.NewServer(mails)
	server.TLSConfig = ticketdefer.WrapConfig(ca.ServerConfig())
	go server.Serve(ticketdefer.WrapListener(l))
	defer server.Close()

	client, err := netsmtp.Dial(l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := errors.Join(client.StartTLS(ca.ClientConfig()), client.Mail("alice@localhost"), client.Rcpt("bob@localhost")); err != nil {
		log.Fatal(err)
	}
	w, err := client.Data()
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(w, "hello")
	if err := errors.Join(w.Close(), client.Quit()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-mails)

	// Output:
	// hello
}

// errTicketFirst is why the puppet hung up.
var errTicketFirst = errors.New("a ticket came before the client's first record")

// A tap notes what passes on its way to a TLS client.
type tap struct {
	net.Conn
	seen []byte
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.seen = append(t.seen, p[:n]...)
	return n, err
}

// A mailPuppet delivers mail as Exchange Online does according to golang/go#70232: if a ticket comes before it has sent
// its first application record, it hangs up.
type mailPuppet struct {
	config *tls.Config
	// patience is how long it gives a ticket to come. It is part of how the puppet behaves; nothing else happens then.
	patience time.Duration
}

// deliver sends one mail on a connection of its own, and tells whether TLS was resumed.
func (m mailPuppet) deliver(addr, mail string) (resumed bool, err error) {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(testTimeout))
	if err := dialogue(raw, 220, "EHLO puppet", 250, "STARTTLS", 220); err != nil {
		return false, err
	}
	var secrets bytes.Buffer
	config := m.config.Clone()
	config.KeyLogWriter = &secrets
	wire := &tap{Conn: raw}
	conn := tls.Client(wire, config)
	if err := conn.Handshake(); err != nil {
		return false, err
	}
	raw.SetReadDeadline(time.Now().Add(m.patience))
	if _, err := wire.Read(make([]byte, 64<<10)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, err
	}
	if first, err := m.first(wire.seen, secrets.String(), conn.ConnectionState().CipherSuite); err != nil || first {
		return false, errors.Join(err, errTicketFirst)
	}
	raw.SetReadDeadline(time.Now().Add(testTimeout))
	return conn.ConnectionState().DidResume, dialogue(conn, 0, "EHLO puppet", 250, "MAIL FROM:<alice@localhost>", 250,
		"RCPT TO:<bob@localhost>", 250, "DATA", 354, mail+"\r\n.", 250, "QUIT", 221)
}

// first reports whether there is a ticket among records, under the first key of the server's application data. Records of
// the handshake do not open under that.
func (mailPuppet) first(records []byte, secrets string, suite uint16) (bool, error) {
	_, line, _ := strings.Cut(secrets, "SERVER_TRAFFIC_SECRET_0 ")
	_, word, _ := strings.Cut(line, " ")
	word, _, _ = strings.Cut(word, "\n")
	secret, err := hex.DecodeString(word)
	if err != nil {
		return false, err
	}
	epoch, err := ticketdefer.NewEpoch(suite, secret)
	if err != nil {
		return false, err
	}
	const header, handshake, newSessionTicket = 5, 22, 4 // RFC 8446 5.1, 4
	for len(records) >= header {
		n := min(len(records), header+int(records[3])<<8+int(records[4]))
		if kind, content, err := epoch.Open(nil, records[:n]); err == nil {
			return kind == handshake && content[0] == newSessionTicket, nil
		}
		records = records[n:]
	}
	return false, nil
}

// dialogue waits for the reply first, unless that is 0, then sends lines and waits for the reply behind each.
func dialogue(c net.Conn, first int, steps ...any) error {
	text := textproto.NewConn(c)
	if first != 0 {
		if _, _, err := text.ReadResponse(first); err != nil {
			return err
		}
	}
	for i := 0; i < len(steps); i += 2 {
		if err := text.PrintfLine("%s", steps[i]); err != nil {
			return err
		}
		if _, _, err := text.ReadResponse(steps[i+1].(int)); err != nil {
			return err
		}
	}
	return nil
}

// A client that hangs up when a ticket comes first delivers its mail, and resumes the next time: tickets stay on. With
// crypto/tls alone the ticket is in the same write as the server's Finished.
func TestSMTPTicketIsNeverInTheFirstFlight(t *testing.T) {
	for _, layer := range layers {
		t.Run(layer.name, func(t *testing.T) {
			t.Parallel()
			mails := make(mailbox, 2)
			server := smtp.NewServer(mails)
			server.TLSConfig = layer.config(testCA.ServerConfig())
			server.ErrorLog = log.New(io.Discard, "", 0)
			l := listen(t)
			go server.Serve(layer.listener(l))
			defer server.Close()

			puppet := mailPuppet{config: resumable(testCA), patience: 100 * time.Millisecond}
			for i := range 2 {
				want := fmt.Sprintf("mail %d", i)
				resumed, err := puppet.deliver(l.Addr().String(), want)
				if !layer.defers {
					if !errors.Is(err, errTicketFirst) {
						t.Fatalf("blind: the control delivered, %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				mustEqual(t, "mail", want, <-mails)
				mustEqual(t, "resumed", i > 0, resumed)
			}
		})
	}
}
