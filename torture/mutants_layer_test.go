package torture

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A layerConn goes beneath crypto/tls and defers by a gate, as ticketdefer.Conn does. It is so small that each of its steps
// can be broken.
type layerConn struct {
	net.Conn
	gate    *ticketdefer.Gate
	writing chan struct{} // held across the gate's decision and the write behind it
	flaw    layerFlaw
	kept    []byte // what a flaw holds in the gate's place
}

// A layerFlaw is what is wrong with a layerConn; the zero value is nothing.
type layerFlaw struct {
	// write changes what is due. before is from before the gate saw p.
	write func(c *layerConn, before ticketdefer.Stats, due [][]byte, p []byte) [][]byte

	// read is done at the beginning of each Read.
	read func(c *layerConn) error
}

func (c *layerConn) Read(p []byte) (int, error) {
	if c.flaw.read != nil {
		if err := c.flaw.read(c); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

func (c *layerConn) Write(p []byte) (int, error) {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	before := c.gate.Stats()
	due, err := c.gate.Filter(nil, p)
	if err != nil {
		return 0, err
	}
	if c.flaw.write != nil {
		due = c.flaw.write(c, before, due, p)
	}
	if err := c.send(due); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *layerConn) send(due [][]byte) error {
	if len(due) == 0 {
		return nil
	}
	_, err := c.Conn.Write(bytes.Join(due, nil))
	return err
}

// layerStack makes both ends with the same flaw.
func layerStack(flaw layerFlaw) Stack {
	over := func(construct func(net.Conn, *tls.Config) *tls.Conn, newGate func() *ticketdefer.Gate) func(net.Conn, *tls.Config) Conn {
		return func(conn net.Conn, config *tls.Config) Conn {
			layer := &layerConn{Conn: conn, gate: newGate(), writing: make(chan struct{}, 1), flaw: flaw}
			return construct(layer, ticketdefer.BindConfig(config, layer.gate))
		}
	}
	stack := TlsstreamListener() // it promises as much, being the same: crypto/tls over a layer
	stack.Name = "layer"
	stack.Except = append(stack.Except, "abort-mid-download") // crypto/tls has no Abort, nor has this layer
	stack.Server = over(tls.Server, ticketdefer.NewServerGate)
	stack.Client = over(tls.Client, ticketdefer.NewClientGate)
	return stack
}

// keyUpdateBytes is the length of a record with one KeyUpdate: header, message, type and the AEAD's tag.
const keyUpdateBytes = headerBytes + messageHeader + 1 + 1 + 16

// layerMutants are what can be wrong in a layer.
var layerMutants = map[string]layerFlaw{
	"releases the ticket one record early": {
		write: func(c *layerConn, _ ticketdefer.Stats, due [][]byte, _ []byte) [][]byte {
			if now := c.gate.Stats(); now.HeldRecords > 0 && now.KeyUpdates == 0 {
				due = append(due, c.gate.Release()...)
			}
			return due
		},
	},
	"forgets one KeyUpdate": {
		write: func(c *layerConn, before ticketdefer.Stats, due [][]byte, _ []byte) [][]byte {
			if before.KeyUpdates == 1 && c.gate.Stats().KeyUpdates == 2 && !c.gate.Closed() {
				held := bytes.Join(c.gate.Release(), nil)
				c.kept = held[:len(held)-keyUpdateBytes]
			}
			return c.behindKept(due)
		},
	},
	"drops held bytes on close": {
		write: func(c *layerConn, before ticketdefer.Stats, due [][]byte, _ []byte) [][]byte {
			if c.gate.Stats().Alerts > before.Alerts {
				due = due[len(due)-1:]
			}
			return due
		},
	},
	"sends held records behind the next": {
		write: func(c *layerConn, before ticketdefer.Stats, due [][]byte, _ []byte) [][]byte {
			if c.gate.Stats().ReleasedRecords > before.ReleasedRecords {
				due = append(due[1:], due[0])
			}
			return due
		},
	},
	"writes what is held in Read": {
		read: func(c *layerConn) error {
			c.writing <- struct{}{}
			defer func() { <-c.writing }()
			return c.send(c.gate.Release())
		},
	},
	"makes Read wait for a Write": {
		read: func(c *layerConn) error {
			c.writing <- struct{}{}
			<-c.writing
			return nil
		},
	},
	"grows with a flood": {
		write: func(c *layerConn, before ticketdefer.Stats, due [][]byte, _ []byte) [][]byte {
			if c.gate.Stats().KeyUpdates > before.KeyUpdates {
				c.kept = append(c.kept, bytes.Join(c.gate.Release(), nil)...)
			}
			return c.behindKept(due)
		},
	},
	"seals in the wrong epoch after a collapse": {
		write: func(c *layerConn, _ ticketdefer.Stats, due [][]byte, p []byte) [][]byte {
			if c.gate.Stats().CollapsedKeyUpdates > 0 && len(due) > 0 {
				due[len(due)-1] = p
			}
			return due
		},
	},
	"sends a KeyUpdate after close_notify": {
		write: func(c *layerConn, before ticketdefer.Stats, due [][]byte, p []byte) [][]byte {
			if c.gate.Closed() && c.gate.Stats().KeyUpdates > before.KeyUpdates {
				c.Conn.SetWriteDeadline(time.Time{}) // crypto/tls, too, lets nothing pass any more
				due = append(due, p)
			}
			return due
		},
	},
}

// behindKept puts what a flaw has kept in front of what is due, if anything is.
func (c *layerConn) behindKept(due [][]byte) [][]byte {
	if len(due) == 0 || len(c.kept) == 0 {
		return due
	}
	due = slices.Insert(due, 0, c.kept)
	c.kept = nil
	return due
}
