package cert

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Load reads a certificate and its key from PEM files, which may be one. Every
// handshake looks whether they have changed: two calls of stat cost nothing
// beside it, and there is no watcher that could miss what a mount or a swapped
// symbolic link does. If the new files are not a pair, the old pair stays in use:
// whoever renews them writes one after the other.
func Load(certFile, keyFile string, log *slog.Logger) (*Source, error) {
	f := &files{log: log, cert: file{path: certFile}, key: file{path: keyFile}}
	if err := f.readLocked(); err != nil {
		return nil, err
	}
	return &Source{current: f.get}, nil
}

type files struct {
	log *slog.Logger

	mu sync.Mutex
	// Guarded by mu.
	cert, key file
	pair      *tls.Certificate
	broken    string // why what the files hold now is not in use
}

func (f *files) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cert.changed() || f.key.changed() {
		old := f.pair
		err := f.readLocked()
		switch {
		case err != nil && err.Error() != f.broken:
			f.broken = err.Error()
			f.log.Warn("certificate not reloaded, the old one stays in use", "err", err)
		case err == nil && (f.broken != "" || !bytes.Equal(old.Leaf.Raw, f.pair.Leaf.Raw)):
			f.broken = ""
			f.log.Info("certificate reloaded", "file", f.cert.path, "not_after", f.pair.Leaf.NotAfter)
		}
	}
	return f.pair
}

func (f *files) readLocked() error {
	certPEM, err := f.cert.read()
	if err != nil {
		return fmt.Errorf("cannot read the certificate: %w", err)
	}
	keyPEM, err := f.key.read()
	if err != nil {
		return fmt.Errorf("cannot read the key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("%s and %s are not a certificate and its key: %w", f.cert.path, f.key.path, err)
	}
	f.pair = &pair
	return nil
}

// A file is what is known of a file that was read.
type file struct {
	path string
	info fs.FileInfo
	// racy is set if the file was so young when it was read that another
	// write can have left it the same time and size, as git calls it.
	racy bool
}

// settled is more than the resolution of any file system's times (FAT: 2 s).
const settled = 3 * time.Second

func (f *file) read() ([]byte, error) {
	f.info = nil
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	f.info, f.racy = info, time.Since(info.ModTime()) < settled
	return content, nil
}

// changed reports whether the file may hold something else than read returned.
func (f *file) changed() bool {
	if f.info == nil || f.racy {
		return true
	}
	info, err := os.Stat(f.path)
	return err != nil || info.Size() != f.info.Size() || !info.ModTime().Equal(f.info.ModTime()) || !os.SameFile(info, f.info)
}
