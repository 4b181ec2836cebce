package ticketdefer

import (
	"crypto/tls"
	"io"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// WrapConfig returns a clone of config whose connections, when they run over a
// [Conn], give it what it needs to tell tickets and KeyUpdates from application
// data. A connection of the clone that does not run over a Conn behaves as with
// config itself.
//
// Like any clone, it does not follow later changes to config, and it draws
// automatic session ticket keys of its own: wrap once, and use the result for
// the life of the server. It may itself be cloned and changed, as http.Server
// and gRPC do. Everything set in config keeps working: its KeyLogWriter still
// gets every line, GetConfigForClient is still called and the Config it returns
// is cloned only to set KeyLogWriter, and session ticket keys are as without
// WrapConfig.
//
// A client with EncryptedClientHelloConfigList is not recognised on this path
// and runs undeferred; the Dialer of package tlsstream serves it.
func WrapConfig(config *tls.Config) *tls.Config {
	c := cloneConfig(config)
	c.KeyLogWriter = KeyLogWriter(c.KeyLogWriter)
	if get := c.GetConfigForClient; get != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := get(hello)
			if chosen == nil || err != nil {
				return chosen, err
			}
			if _, ok := chosen.KeyLogWriter.(*routingWriter); ok {
				return chosen, nil
			}
			chosen = chosen.Clone()
			chosen.KeyLogWriter = KeyLogWriter(chosen.KeyLogWriter)
			return chosen, nil
		}
	}
	keys, get := c.EncryptedClientHelloKeys, c.GetEncryptedClientHelloKeys
	if get != nil || len(keys) > 0 {
		// This hook is the one that names the connection before anything is
		// logged, and it adds nothing that a later clone could lose.
		c.GetEncryptedClientHelloKeys = func(hello *tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) {
			if conn := find(hello.Conn); conn != nil {
				conn.expectECH()
			}
			if get != nil {
				return get(hello)
			}
			return keys, nil
		}
	}
	return c
}

// A KeyLogger takes traffic secrets for one connection, whatever client_random
// they are logged under: a [Conn] or a [Gate].
type KeyLogger interface {
	KeyLogWriter(next io.Writer) io.Writer
}

// BindConfig returns a clone of config for the one connection of k, for callers
// that make the tls.Conn themselves. Session tickets are sealed and opened by
// config's own EncryptTicket and DecryptTicket, so its keys, automatic or not,
// and their rotation count for all its connections, as with crypto/tls alone.
func BindConfig(config *tls.Config, k KeyLogger) *tls.Config {
	if config == nil {
		config = &tls.Config{}
	}
	c := bind(config, config, k)
	if get := c.GetConfigForClient; get != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := get(hello)
			if chosen == nil || err != nil {
				return chosen, err
			}
			// As Config.ticketKeys in crypto/tls/common.go: the chosen
			// Config's keys if they were set, else the first one's.
			keys := config
			if hasExplicitTicketKeys(chosen) {
				keys = chosen
			}
			return bind(chosen, keys, k), nil
		}
	}
	return c
}

func bind(config, ticketKeys *tls.Config, k KeyLogger) *tls.Config {
	c := config.Clone()
	c.KeyLogWriter = k.KeyLogWriter(c.KeyLogWriter)
	if g, ok := k.(*Gate); ok && g.client {
		return c // which seals no tickets
	}
	if c.WrapSession == nil {
		c.WrapSession = ticketKeys.EncryptTicket
	}
	if c.UnwrapSession == nil {
		c.UnwrapSession = ticketKeys.DecryptTicket
	}
	return c
}

// hasExplicitTicketKeys reports whether the user has given config its session
// ticket keys, by SessionTicketKey or SetSessionTicketKeys. crypto/tls does not
// say, but only automatic keys age, so only with them it asks for the time.
func hasExplicitTicketKeys(config *tls.Config) bool {
	c := config.Clone()
	seal := func() error {
		_, err := c.EncryptTicket(tls.ConnectionState{}, &tls.SessionState{})
		return err
	}
	if seal() != nil { // the first call may take over SessionTicketKey, with the time of day
		return false
	}
	automatic := false
	now := c.Time
	if now == nil {
		now = time.Now
	}
	c.Time = func() time.Time {
		automatic = true
		return now()
	}
	return seal() == nil && !automatic
}

func cloneConfig(config *tls.Config) *tls.Config {
	if config == nil {
		return &tls.Config{}
	}
	return config.Clone()
}

// find returns the Conn of this package that c runs over, or nil.
func find(c net.Conn) *Conn {
	conn, _ := membio.Find(c, func(c net.Conn) bool {
		_, ok := c.(*Conn)
		return ok
	}).(*Conn)
	return conn
}
