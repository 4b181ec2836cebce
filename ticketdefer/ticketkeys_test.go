package ticketdefer

import (
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A keyHolder is what a user has: a Config, and where its ticket keys are set.
type keyHolder struct {
	base *tls.Config // what the user passes on
	// holder is the Config to set keys on. inUse is what the user's server
	// runs with: base, or what WrapConfig made of it.
	holder func(inUse *tls.Config) *tls.Config
	// remember, if set, applies an operation to Configs yet to be made.
	remember func(op func(*tls.Config))
}

// holders are the places where keys can be.
var holders = map[string]func(base *tls.Config) keyHolder{
	"base": func(base *tls.Config) keyHolder {
		return keyHolder{base: base, holder: func(inUse *tls.Config) *tls.Config { return inUse }}
	},
	"shared": func(base *tls.Config) keyHolder {
		shared := base.Clone()
		base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return shared, nil }
		return keyHolder{base: base, holder: func(*tls.Config) *tls.Config { return shared }}
	},
	"fresh": func(base *tls.Config) keyHolder {
		var ops []func(*tls.Config)
		template := base.Clone()
		base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := template.Clone()
			for _, op := range ops {
				op(c)
			}
			return c, nil
		}
		return keyHolder{base: base, remember: func(op func(*tls.Config)) { ops = append(ops, op) }}
	},
	// The base's keys, and a hook that chooses the base again, or nothing.
	"base, hook returns nil": func(base *tls.Config) keyHolder {
		base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		return keyHolder{base: base, holder: func(inUse *tls.Config) *tls.Config { return inUse }}
	},
	"base, hook returns another": func(base *tls.Config) keyHolder {
		other := base.Clone()
		base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return other, nil }
		return keyHolder{base: base, holder: func(inUse *tls.Config) *tls.Config { return inUse }}
	},
}

func (h keyHolder) do(inUse *tls.Config, op func(*tls.Config)) {
	if h.remember != nil {
		h.remember(op)
		return
	}
	op(h.holder(inUse))
}

func setKeys(keys ...byte) func(*tls.Config) {
	return func(c *tls.Config) {
		var list [][32]byte
		for _, k := range keys {
			list = append(list, [32]byte{k})
		}
		c.SetSessionTicketKeys(list)
	}
}

// A keyPlan says what happens before the first, the third and the fifth connection.
type keyPlan struct {
	keys [3]func(*tls.Config)
	pass [3]time.Duration // on the server's clock
}

func keys(ops ...func(*tls.Config)) (p keyPlan) {
	copy(p.keys[:], ops)
	return p
}

var keyPlans = map[string]keyPlan{
	"automatic":                     {},
	"SessionTicketKey":              keys(legacyKey),
	"set before":                    keys(setKeys(1)),
	"set later":                     keys(nil, setKeys(1)),
	"SessionTicketKey, then set":    keys(legacyKey, setKeys(1)),
	"rotated, old key kept":         keys(setKeys(1), setKeys(2, 1)),
	"rotated, old key retired":      keys(setKeys(1), setKeys(2)),
	"rotated, old key retired late": keys(setKeys(1), setKeys(2, 1), setKeys(3, 2)),
	"a day passes":                  {pass: [3]time.Duration{1: 25 * time.Hour}},
	"more than a week passes":       {pass: [3]time.Duration{1: 25 * time.Hour, 2: 8 * 24 * time.Hour}},
	"tickets disabled":              keys(func(c *tls.Config) { c.SessionTicketsDisabled = true }),
}

func legacyKey(c *tls.Config) {
	//lint:ignore SA1019 users still set it
	c.SessionTicketKey = [32]byte{9}
}

// keyRunners are the ways to serve; each returns what a connection runs with.
var keyRunners = map[string]func(base *tls.Config) (inUse *tls.Config, each func(*Conn) *tls.Config){
	"stock": func(base *tls.Config) (*tls.Config, func(*Conn) *tls.Config) {
		return base, func(*Conn) *tls.Config { return base }
	},
	"WrapConfig": func(base *tls.Config) (*tls.Config, func(*Conn) *tls.Config) {
		wrapped := WrapConfig(base)
		return wrapped, func(*Conn) *tls.Config { return wrapped }
	},
	"WrapConfig cloned": func(base *tls.Config) (*tls.Config, func(*Conn) *tls.Config) {
		served := WrapConfig(base).Clone() // as http.Server.ServeTLS does
		return served, func(*Conn) *tls.Config { return served }
	},
	"BindConfig": func(base *tls.Config) (*tls.Config, func(*Conn) *tls.Config) {
		return base, func(conn *Conn) *tls.Config { return BindConfig(base, conn) }
	},
}

// resumes runs a plan, and tells for each of five connections in a row what
// became of it. One client offers the ticket of the connection before.
func resumes(t *testing.T, runner, holder, plan string, version uint16) (row []string) {
	t.Helper()
	base := testCA.ServerConfig()
	start, shift := time.Now(), time.Duration(0)
	base.Time = func() time.Time { return start.Add(shift) }
	steps := keyPlans[plan]
	h := holders[holder](base)
	apply := func(inUse *tls.Config, i int) {
		shift += steps.pass[i]
		if steps.keys[i] != nil {
			h.do(inUse, steps.keys[i])
		}
	}
	apply(base, 0)
	inUse, each := keyRunners[runner](base)
	clientConfig := resumable()
	clientConfig.MaxVersion = version
	for i := range 5 {
		if i == 2 || i == 4 {
			apply(inUse, i/2)
		}
		a, b := tlstest.TCPPair(t)
		conn := WrapConn(a)
		server, client := tls.Server(conn, each(conn)), tls.Client(b, clientConfig)
		if err := tryShake(server, client); err != nil {
			// Stock: base has tickets disabled, the Config chosen has not.
			row = append(row, "failed")
			continue
		}
		exchange(t, server, client, "response") // with the ticket in front of it
		server.Close()
		row = append(row, map[bool]string{true: "resumed", false: "full"}[client.ConnectionState().DidResume])
		client.Close()
	}
	return row
}

// Ticket keys, automatic or not, and their rotation are as with crypto/tls
// alone, wherever the user keeps them.
func TestTicketKeysAreAsInStock(t *testing.T) {
	rows := map[string]int{}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for holder := range holders {
			for plan := range keyPlans {
				if version == tls.VersionTLS12 && plan != "automatic" && plan != "rotated, old key retired" {
					continue // the same code in crypto/tls
				}
				t.Run(fmt.Sprintf("%s/%s/%s", tls.VersionName(version), holder, plan), func(t *testing.T) {
					want := resumes(t, "stock", holder, plan, version)
					rows[fmt.Sprint(want)]++
					for runner := range keyRunners {
						mustEqual(t, runner, want, resumes(t, runner, holder, plan, version))
					}
				})
			}
		}
	}
	// Never, always, not after a retired key, once or twice, …
	if len(rows) < 4 {
		t.Errorf("stock has %d kinds of rows only: this test proves little: %v", len(rows), rows)
	}
}
