package get

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// A Config says what to download.
type Config struct {
	URL    *url.URL // https
	Output string   // the name of the file

	// Signature is where its detached signature is; nil for none. It goes beside Output, under its own name.
	Signature *url.URL
	// Keyring has the keys that may have signed.
	Keyring openpgp.EntityList

	TLS *tls.Config
	// Timeout bounds each wait: for a connection with its handshake, and for each piece of a response.
	Timeout time.Duration
	// MaxTime bounds all of it. If zero, nothing does.
	MaxTime time.Duration
	// MaxBytes bounds the file. If zero, nothing does.
	MaxBytes int64

	// Progress is called now and then with the bytes that have come, and how many there will be, or -1.
	Progress func(done, total int64)
	// Note is called with what the user may want to know, in a line.
	Note func(line string)
}

// A Result is what became of a download.
type Result struct {
	Kind    Kind
	URL     string // where the file came from, after redirects, without a password
	File    string
	Bytes   int64 // of the file, or what has come of it
	Total   int64 // -1 if not known
	Resumed int64 // bytes that an earlier run had fetched
	Ending  Ending
	Partial string // what the next run can go on from; empty if nothing
	Pair    *Pair  // nil without a signature
}

// An Ending is what told that the file is whole.
type Ending string

// The endings that TLS vouches for.
const (
	ContentLength Ending = "content-length"
	LastChunk     Ending = "last-chunk"
	CloseNotify   Ending = "close-notify"
)

// A Pair tells of a file and its signature.
type Pair struct {
	File        string // the signature's
	Fingerprint string // of the key that signed, in hex; empty if none did
	Signer      string // its first user ID
	Attempts    int    // how often the two were fetched
}

// NameOf returns the file name that a URL ends in.
func NameOf(from *url.URL) (string, error) {
	name := path.Base(from.Path)
	// On some systems other characters separate folders, too.
	if name == "." || name == "/" || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", fmt.Errorf("%s does not end in a file name", from.Redacted())
	}
	return name, nil
}

// Run downloads. If the error, an *Error, is not nil, there is nothing new under the final names. The Result is there in any case.
func Run(ctx context.Context, config Config) (*Result, error) {
	if config.MaxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, config.MaxTime)
		defer cancel()
	}
	g := &getter{
		Config: config,
		client: newClient(config.TLS, config.Timeout),
		result: &Result{URL: config.URL.Redacted(), File: config.Output, Total: -1},
	}
	err := g.run(ctx)
	if err == nil {
		g.result.Kind = Complete
		return g.result, nil
	}
	g.result.Kind = err.Kind
	return g.result, err
}

// A getter is one run.
type getter struct {
	Config
	client  *client
	partial *partial
	etag    string // of the whole file in partial; "" if there is none
	pair    *pair  // nil without a signature
	result  *Result
}

func (g *getter) run(ctx context.Context) *Error {
	var err error
	if g.partial, err = openPartial(g.Output, g.URL); err != nil {
		return err.(*Error)
	}
	if g.Signature == nil {
		err = g.fetchFile(ctx, request{from: g.URL})
	} else {
		g.pair = &pair{getter: g}
		err = g.pair.fetch(ctx)
	}
	if err == nil && ctx.Err() != nil {
		err = explain(ctx, ctx.Err(), nil, "before the file had its name")
	}
	if err == nil {
		err = g.commit()
	}
	g.result.Bytes = g.partial.size
	if err == nil {
		return nil
	}
	failure := err.(*Error)
	if err := g.partial.leave(); err != nil {
		return local(err)
	}
	if g.partial.resumable() {
		g.result.Partial = g.Output + partialSuffix
	}
	return failure
}

// commit gives what was downloaded its names.
func (g *getter) commit() error {
	if g.pair != nil {
		if err := g.pair.prepare(); err != nil {
			return local(err)
		}
	}
	if err := g.partial.commit(); err != nil {
		if g.pair != nil {
			os.Remove(g.pair.temporary)
		}
		return local(err)
	}
	if g.pair != nil {
		if err := g.pair.commit(); err != nil {
			return local(err)
		}
	}
	return nil
}

func (g *getter) note(format string, args ...any) {
	if g.Note != nil {
		g.Note(fmt.Sprintf(format, args...))
	}
}
