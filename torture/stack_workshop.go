package torture

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/cpeer"
)

// A workshop is a temporary folder with what the programs of a plan need. It is made when the first one asks for it.
type workshop struct {
	once sync.Once
	err  error // of once

	dir                       string
	ca                        *tlstest.CA
	server                    tls.Certificate
	caFile, certFile, keyFile string

	mu    sync.Mutex       // guards built, and is held while a compiler runs
	built map[string]built // by library
}

type built struct {
	program string
	err     error
}

func (w *workshop) open() error {
	w.once.Do(func() { w.err = w.fill() })
	if w.err != nil {
		return fmt.Errorf("torture: no files for programs: %w", w.err)
	}
	return nil
}

func (w *workshop) fill() (err error) {
	if w.dir, err = os.MkdirTemp("", "torture-"); err != nil {
		return err
	}
	w.ca = tlstest.NewCA()
	w.server = w.ca.Server()
	w.built = make(map[string]built)
	w.caFile, w.certFile, w.keyFile, err = w.ca.WriteFiles(w.dir)
	return err
}

// close removes the folder. No program is left by then.
func (w *workshop) close() error {
	if w.dir == "" {
		return nil
	}
	return os.RemoveAll(w.dir)
}

func (w *workshop) trial(port int) ProgramTrial {
	return ProgramTrial{Port: port, CAFile: w.caFile, CertFile: w.certFile, KeyFile: w.keyFile, workshop: w}
}

// peer returns the path of the client in C.
func (w *workshop) peer(library string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.built[library]
	if !ok {
		b.program, b.err = cpeer.Build(w.dir, library)
		w.built[library] = b
	}
	if b.err != nil {
		return "", notHere(b.err.Error())
	}
	return b.program, nil
}
