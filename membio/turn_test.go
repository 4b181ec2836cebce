package membio

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnExcludes(t *testing.T) {
	var (
		l       Turn
		counter int // the race detector sees it too
		all     sync.WaitGroup
	)
	const goroutines, rounds = 8, 2000
	for g := range goroutines {
		all.Go(func() {
			for i := range rounds {
				switch {
				case g%4 == 0:
					for !l.TryLock() {
						if l.LockOr(nil, nil) {
							break
						}
					}
				case g%4 == 1:
					gone := make(chan struct{})
					if i%2 == 0 {
						close(gone)
					}
					if !l.LockOr(gone, nil) {
						l.Lock()
					}
				default:
					l.Lock()
				}
				counter++
				l.Unlock()
			}
		})
	}
	all.Wait()
	if counter != goroutines*rounds {
		t.Errorf("counted %d, want %d", counter, goroutines*rounds)
	}
	if !l.TryLock() {
		t.Error("the lock is not free in the end")
	}
}

// Whoever waits first has it first, and one who has given up is passed over.
func TestTurnIsHandedOverInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Turn
		l.Lock()
		order := make(chan int, 4)
		for i := range 4 {
			go func() {
				if i == 1 {
					patience := time.NewTimer(time.Minute)
					if l.LockOr(nil, patience.C) {
						t.Error("the second got the lock, though it had given up")
					}
					order <- -1
					return
				}
				l.Lock()
				order <- i
				l.Unlock()
			}()
			synctest.Wait()
		}
		if l.TryLock() {
			t.Fatal("taken twice")
		}
		time.Sleep(2 * time.Minute)
		l.Unlock()
		for _, want := range []int{-1, 0, 2, 3} {
			if got := <-order; got != want {
				t.Errorf("next was %d, want %d", got, want)
			}
		}
		synctest.Wait()
		if !l.TryLock() {
			t.Error("the lock is not free in the end")
		}
	})
}
