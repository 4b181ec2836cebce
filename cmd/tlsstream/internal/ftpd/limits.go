package ftpd

import (
	"context"
	"fmt"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"golang.org/x/time/rate"
)

// limits count what a user has and how fast it comes.
type limits struct {
	quota int64
	in    *rate.Limiter // nil: no bound
	out   *rate.Limiter

	mu sync.Mutex
	// Guarded by mu.
	used    int64
	counted time.Time // when used was last counted; zero: never
}

// minBurst is more than the library copies at a time.
const minBurst = 64 << 10

func newLimits(quota, bytesPerSecond int64) *limits {
	l := &limits{quota: quota}
	if bytesPerSecond > 0 {
		burst := max(minBurst, int(min(bytesPerSecond/10, 1<<30)))
		l.in = rate.NewLimiter(rate.Limit(bytesPerSecond), burst)
		l.out = rate.NewLimiter(rate.Limit(bytesPerSecond), burst)
	}
	return l
}

// recount is how often a full quota may have the folder counted again: files may
// have been taken away by others than FTP.
const recount = 10 * time.Second

// take reserves n bytes of the quota. count sums up what is there.
func (l *limits) take(n int64, count func() (int64, error)) error {
	if l.quota == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counted.IsZero() || l.used+n > l.quota && time.Since(l.counted) > recount {
		used, err := count()
		if err != nil {
			return fmt.Errorf("cannot count the quota: %w", err)
		}
		l.used, l.counted = used, time.Now()
	}
	if l.used+n > l.quota {
		return fmt.Errorf("%w: the quota is %d bytes", ftpserver.ErrStorageExceeded, l.quota)
	}
	l.used += n
	return nil
}

// give returns n bytes.
func (l *limits) give(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = max(0, l.used-n)
}

// wait waits until n bytes may pass.
func wait(ctx context.Context, limiter *rate.Limiter, n int) error {
	if limiter == nil {
		return nil
	}
	for n > 0 {
		step := min(n, limiter.Burst())
		if err := limiter.WaitN(ctx, step); err != nil {
			return err
		}
		n -= step
	}
	return nil
}
