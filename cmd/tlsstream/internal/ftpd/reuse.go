package ftpd

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"sync"
)

// errNoReuse is the answer to a data connection of unknown origin.
var errNoReuse = errors.New("the data connection must resume the TLS session of the control connection")

// A family is the TLS sessions that descend from one control connection. Its mark
// is in each of their tickets, which nobody else can open, so a data connection
// that resumes one comes from the client of the control connection, and not from
// whoever found the port first.
type family struct {
	base *tls.Config // its ticket keys seal everybody's tickets

	mu sync.Mutex
	// Guarded by mu.
	mark      []byte
	candidate []byte // of the control connection's own ticket, if it offered one
	secret    []byte // the control connection's, for its repeater
	spent     bool   // a data connection has resumed since the ticket was last sent
}

// markPrefix tells our mark from what others put into SessionState.Extra.
const markPrefix = "deferredtls ftpd "

func newFamily(base *tls.Config) *family {
	mark := make([]byte, len(markPrefix)+16)
	rand.Read(mark[copy(mark, markPrefix):])
	return &family{base: base, mark: mark}
}

// control returns the configuration for the control connection. With required set
// its ticket can be repeated.
func (f *family) control(required bool) *tls.Config {
	c := f.sealing()
	if required {
		c.KeyLogWriter = &secretTap{f, c.KeyLogWriter}
	}
	c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		state, err := f.base.DecryptTicket(identity, cs)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.candidate = markOf(state)
		return state, err
	}
	// A client that resumes on its control connection may use the same ticket
	// again for its data. Its mark counts from here on, and not before: only now
	// the client has shown that it holds the session's secret.
	verify := c.VerifyConnection
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if verify != nil {
			if err := verify(cs); err != nil {
				return err
			}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if cs.DidResume && f.candidate != nil {
			f.mark = f.candidate
		}
		return nil
	}
	return c
}

// data returns the configuration for data connections. With required set, those
// that do not resume a session of the family fail.
func (f *family) data(required bool) *tls.Config {
	c := f.sealing()
	if !required {
		c.UnwrapSession = f.base.DecryptTicket
		return c
	}
	c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		state, err := f.base.DecryptTicket(identity, cs)
		if err != nil || !f.has(markOf(state)) {
			return nil, err
		}
		return state, nil
	}
	verify := c.VerifyConnection
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if !cs.DidResume {
			return errNoReuse
		}
		f.spend()
		if verify != nil {
			return verify(cs)
		}
		return nil
	}
	return c
}

func (f *family) sealing() *tls.Config {
	c := f.base.Clone()
	c.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		f.mu.Lock()
		state.Extra = append(state.Extra, f.mark)
		f.mu.Unlock()
		return f.base.EncryptTicket(cs, state)
	}
	return c
}

func (f *family) has(mark []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return mark != nil && bytes.Equal(mark, f.mark)
}

func (f *family) setControlSecret(secret []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secret = secret
}

func (f *family) controlSecret() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.secret
}

func (f *family) spend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spent = true
}

func (f *family) takeSpent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	spent := f.spent
	f.spent = false
	return spent
}

func markOf(state *tls.SessionState) []byte {
	if state == nil {
		return nil
	}
	for _, extra := range state.Extra {
		if bytes.HasPrefix(extra, []byte(markPrefix)) {
			return extra
		}
	}
	return nil
}
