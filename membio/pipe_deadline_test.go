package membio

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipeDeadlines(t *testing.T) {
	const wait = time.Hour
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(PipeOptions{A: PipeSide{SendBuffer: 3}})
		defer a.Close()
		defer b.Close()
		last := time.Now()
		elapsed := func() time.Duration { // since the last call of elapsed
			d := time.Since(last)
			last = time.Now()
			return d
		}

		b.SetReadDeadline(time.Now().Add(wait))
		if _, err := b.Read(make([]byte, 1)); outcome(err) != "timeout" || elapsed() != wait {
			t.Errorf("Read: %v, after %v", err, elapsed())
		}
		a.SetWriteDeadline(time.Now().Add(wait))
		if n, err := a.Write([]byte("hello")); n != 3 || outcome(err) != "timeout" || elapsed() != wait {
			t.Errorf("Write = %d, %v", n, err)
		}
		if n, err := a.Write([]byte("x")); n != 0 || outcome(err) != "timeout" || elapsed() != 0 {
			t.Errorf("Write past the deadline = %d, %v", n, err)
		}
		if n, err := b.Read(make([]byte, 1)); n != 0 || outcome(err) != "timeout" || elapsed() != 0 {
			t.Errorf("Read past the deadline, with bytes there = %d, %v", n, err)
		}
		b.SetReadDeadline(time.Time{})
		p := make([]byte, 10)
		if n, err := b.Read(p); string(p[:n]) != "hel" || err != nil {
			t.Errorf("Read after the deadline is lifted = %q, %v", p[:n], err)
		}
	})
}

func TestPipeDeadlineChangeReachesCallsInProgress(t *testing.T) {
	const never, wait = time.Duration(0), time.Hour
	for name, dir := range map[string]struct {
		set  func(*PipeConn, time.Time) error
		call func(*PipeConn) (int, error)
	}{
		"Read":                  {(*PipeConn).SetReadDeadline, func(c *PipeConn) (int, error) { return c.Read(make([]byte, 1)) }},
		"Write":                 {(*PipeConn).SetWriteDeadline, func(c *PipeConn) (int, error) { return c.Write(make([]byte, 1)) }},
		"Read, by SetDeadline":  {(*PipeConn).SetDeadline, func(c *PipeConn) (int, error) { return c.Read(make([]byte, 1)) }},
		"Write, by SetDeadline": {(*PipeConn).SetDeadline, func(c *PipeConn) (int, error) { return c.Write(make([]byte, 1)) }},
	} {
		for _, d := range []struct{ first, then, want time.Duration }{
			{never, wait, 2 * wait},
			{3 * wait, wait, 2 * wait},
			{2 * wait, 4 * wait, 5 * wait},
			{2 * wait, -wait, wait},
		} {
			synctest.Test(t, func(t *testing.T) {
				a, _ := Pipe(PipeOptions{})
				started := time.Now()
				if d.first != never {
					dir.set(a, started.Add(d.first))
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := dir.call(a)
					if elapsed := time.Since(started); outcome(err) != "timeout" || elapsed != d.want {
						t.Errorf("%s: deadline %v, after %v %v: %v after %v", name, d.first, wait, d.then, err, elapsed)
					}
				})
				time.Sleep(wait) // virtual
				dir.set(a, time.Now().Add(d.then))
				wg.Wait()
			})
		}
	}
}

// TestPipeTimedOutWriteGivesNoMoreBytes: the reader takes from the memory of
// the blocked writer, and must not once that writer has its memory back.
func TestPipeTimedOutWriteGivesNoMoreBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(PipeOptions{})
		defer a.Close()
		defer b.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			a.SetWriteDeadline(time.Now().Add(time.Second))
			if n, err := a.Write([]byte("abcde")); n != 2 || outcome(err) != "timeout" {
				t.Errorf("Write = %d, %v", n, err)
			}
		})
		p := make([]byte, 2)
		if n, err := b.Read(p); string(p[:n]) != "ab" || err != nil {
			t.Errorf("Read = %q, %v", p[:n], err)
		}
		wg.Wait()
		b.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := b.Read(p); n != 0 || outcome(err) != "timeout" {
			t.Errorf("Read after the Write timed out = %d, %v", n, err)
		}
	})
}
