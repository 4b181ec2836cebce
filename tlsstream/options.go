package tlsstream

import (
	"fmt"
	"time"
)

// defaultCloseTimeout is what crypto/tls allows for close_notify.
const defaultCloseTimeout = 5 * time.Second

// Options change how streams behave. The zero value works. An Options value
// may be used for any number of connections, and must not be changed while it
// is.
type Options struct {
	// CloseTimeout bounds how long Close waits for the transport to take
	// what is pending and close_notify. A write deadline that comes earlier
	// bounds it too. If zero, 5 seconds, as crypto/tls; negative values are
	// an error.
	CloseTimeout time.Duration

	// AllowTruncation makes Read return io.EOF in place of ErrTruncated when
	// the peer ends its stream between two records without close_notify, as
	// crypto/tls does. A stream cut inside a record is truncated all the same. If zero,
	// truncation is an error.
	AllowTruncation bool
}

func (o *Options) check() error {
	if o.CloseTimeout < 0 {
		return fmt.Errorf("tlsstream: Options.CloseTimeout is negative: %v", o.CloseTimeout)
	}
	return nil
}

func (o *Options) closeTimeout() time.Duration {
	if o.CloseTimeout == 0 {
		return defaultCloseTimeout
	}
	return o.CloseTimeout
}
