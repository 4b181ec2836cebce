package ticketdefer

import "testing"

// runScript plays random records; FuzzGateOrder and the test above share it.
func runScript(t testing.TB, script []byte) {
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return int(b)
	}
	mode := next()
	gate := NewServerGate()
	if mode&1 != 0 {
		gate = NewClientGate()
	}
	s := newStack(t, gate, suites[mode>>1%4%len(suites)])
	lateTickets, pads := mode&16 != 0, mode&32 != 0 // as other stacks may do
	pad := func() int {
		if !pads {
			return 0
		}
		return next() % 40
	}
	if mode&64 != 0 {
		s.handshake()
	}
	for len(script) > 0 && !t.Failed() {
		op, arg := next(), next()
		s.coalesce = op&128 != 0
		switch op % 12 {
		case 0, 1:
			if s.streaming && !lateTickets {
				continue
			}
			s.ticket(arg*(1+op%7), 1+arg*3, pad())
		case 2:
			if s.streaming && !lateTickets {
				continue
			}
			s.handshakeMessages([][]byte{message(4, arg), message(4, 0), message(13, 3)}, 1+arg, pad())
		case 3, 4:
			s.update(pad())
		case 5:
			for range arg % 20 {
				s.update(0)
			}
		case 6, 7:
			s.data(randomBytes(uint64(arg), arg*arg/8), pad())
		case 8:
			s.data(keyUpdate, pad())
		case 9:
			s.data(closeNotify, pad())
		case 10:
			s.release()
		case 11:
			switch {
			case arg < 8 && !s.closed:
				s.alert(alertCloseNotify)
			case arg < 100 && !s.closed:
				s.alert(90)
			}
		}
	}
	s.flush()
	if !s.closed {
		s.data([]byte("the last word"), 0)
		s.flush()
	}
	s.check()
	if !s.late {
		s.deferral(DeferralOn)
	}
}
