package get

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
)

// A file and its detached signature are two requests, with no promise that both are answered from the same state of the
// server. Three things go wrong: the repository is changed between the two; a cache has an old one of the two, and is
// content with it; a cache has an old one and does not even ask when it is told to.
//
// So the two are fetched in rounds, each less polite than the one before, until they match:
//
//  1. as they are;
//  2. with Cache-Control: no-cache, which makes caches ask the server, and If-None-Match, so that what has not changed is
//     not sent again;
//  3. the same, with a query parameter that no cache has seen. It is the later Last-Modified of the two, so that it is the same
//     for everybody who asks for this version, and caches stay of use;
//  4. without either: an ETag made of date and size, as many servers make it, is the same for two files of one second, and a
//     server may send an error page for a query that it does not know;
//  5. with a query parameter that differs from that of round 3, and without If-None-Match;
//  6. as 4.
//
// A server that rejects the parameter is asked again at once without it, and not troubled with it any more. A server without
// Last-Modified gets no parameter. Between rounds there is a pause, since a repository that was changed once may be in the
// middle of changing more.

// A round is one way to fetch both.
type round struct {
	fresh       bool // Cache-Control: no-cache
	conditional bool // If-None-Match
	query       bool
	pause       time.Duration // before it
}

var rounds = []round{
	{},
	{fresh: true, conditional: true},
	{fresh: true, conditional: true, query: true, pause: 100 * time.Millisecond},
	{fresh: true, pause: 200 * time.Millisecond},
	{fresh: true, query: true, pause: 400 * time.Millisecond},
	{fresh: true, pause: 800 * time.Millisecond},
}

// MaxAttempts is how often a file and its signature are fetched at most.
var MaxAttempts = len(rounds)

// queryParameter is named for this program, so that no server gives it another meaning.
const queryParameter = "tlsstream-modified"

// maxSignature is the most bytes that a signature may have; one by an RSA key of 16,384 bits has 3 KiB when armored.
const maxSignature = 64 << 10

// A pair fetches a file and its signature until they match.
type pair struct {
	*getter
	signature []byte
	sigETag   string
	modified  time.Time // the latest Last-Modified that either had
	noQuery   bool      // the server does not like it
	name      string    // of the signature's file
	temporary string    // the same until it has its name
}

func (p *pair) fetch(ctx context.Context) error {
	name, err := NameOf(p.Signature)
	if err != nil {
		return &Error{Protocol, err.Error(), "", err}
	}
	p.name = filepath.Join(filepath.Dir(p.Output), name)
	p.result.Pair = &Pair{File: p.name}
	if info, err := os.Lstat(p.name); err == nil && !info.Mode().IsRegular() {
		return &Error{Local, fmt.Sprintf("%s is not a file", p.name), "choose another folder with --output", nil}
	}
	var mismatch *Error
	for i, r := range rounds {
		if i > 0 {
			if errors.Is(mismatch.Err, pgperrors.ErrUnknownIssuer) && !r.conditional {
				break // that is hardly a matter of time, and the file may be large
			}
			p.note("%s: asking again, attempt %d of %d", mismatch.Problem, i+1, len(rounds))
			if err := wait(ctx, r.pause); err != nil {
				return explain(ctx, err, nil, "between two attempts")
			}
		}
		p.result.Pair.Attempts = i + 1
		err := p.fetchBoth(ctx, r, i+1)
		if err == nil {
			err = p.check()
		}
		if err == nil {
			return nil
		}
		mismatch = err.(*Error)
		// What was there in the first round and is gone may come back.
		if mismatch.Kind != Signature && (i == 0 || mismatch.Kind != Status) {
			return err
		}
	}
	p.partial.discard()
	return mismatch
}

func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// fetchBoth fetches the file, then the signature, or finds that they are as they were.
func (p *pair) fetchBoth(ctx context.Context, r round, attempt int) error {
	etag := func(tag string) string {
		if !r.conditional {
			return ""
		}
		return tag
	}
	err := p.ask(r, attempt, p.URL, etag(p.etag), func(r request) error { return p.fetchFile(ctx, r) })
	if err != nil {
		return err
	}
	return p.ask(r, attempt, p.Signature, etag(p.sigETag), func(r request) error { return p.fetchSignature(ctx, r) })
}

// ask makes one request of a round, and again without the query parameter if that is rejected.
func (p *pair) ask(r round, attempt int, from *url.URL, etag string, fetch func(request) error) error {
	plain := request{from: from, fresh: r.fresh, etag: etag}
	if !r.query || p.noQuery || p.modified.IsZero() {
		return fetch(plain)
	}
	special := plain
	value := strconv.FormatInt(p.modified.Unix(), 10)
	if !r.conditional {
		value += "." + strconv.Itoa(attempt)
	}
	special.from = withParameter(from, queryParameter, value)
	err := fetch(special)
	var failure *Error
	if !errors.As(err, &failure) {
		return nil
	}
	switch failure.Kind {
	case Local, Interrupted, TimedOut:
		return err
	}
	p.noQuery = true
	return fetch(plain)
}

// withParameter adds to the query and leaves what is there as it was written.
func withParameter(from *url.URL, name, value string) *url.URL {
	with := *from
	if with.RawQuery != "" {
		with.RawQuery += "&"
	}
	with.RawQuery += name + "=" + value
	return &with
}

// saw remembers how new a response is.
func (p *pair) saw(header http.Header) {
	if modified, err := http.ParseTime(header.Get("Last-Modified")); err == nil && modified.After(p.modified) {
		p.modified = modified
	}
}

func (p *pair) fetchSignature(ctx context.Context, r request) error {
	response, err := p.client.do(ctx, r.from, r.header())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	p.saw(response.Header)
	switch {
	case response.StatusCode == http.StatusNotModified && r.etag != "":
		return nil
	case response.StatusCode != http.StatusOK:
		return statusError(response)
	}
	signature, err := io.ReadAll(io.LimitReader(response.Body, maxSignature+1))
	if err != nil {
		return explain(ctx, err, p.client.end(), "in the signature, "+progressText(int64(len(signature)), response.ContentLength))
	}
	if len(signature) > maxSignature {
		return &Error{Protocol, fmt.Sprintf("the signature has more than %d bytes", maxSignature), "check the URL of --signature", nil}
	}
	p.signature, p.sigETag = signature, response.Header.Get("ETag")
	return nil
}

// check verifies what is in the partial file and in memory.
func (p *pair) check() error {
	signer, err := verify(p.Keyring, io.NewSectionReader(p.partial.file, 0, p.partial.size), p.signature)
	if err != nil {
		return &Error{Signature, mismatchText(err), "the repository may be in the middle of a change, or a cache in between may be stale: try again later; else do not trust the file", err}
	}
	p.result.Pair.Fingerprint = fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint)
	if identity := signer.PrimaryIdentity(); identity != nil {
		p.result.Pair.Signer = identity.Name
	}
	return nil
}

// prepare writes the signature beside its name, and takes away the old one: no pair that does not match is ever under the
// two final names.
func (p *pair) prepare() error {
	// The lock on the partial file is for this one, too.
	p.temporary = p.name + newSuffix
	file, err := os.Create(p.temporary)
	if err != nil {
		return err
	}
	_, err = file.Write(p.signature)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Remove(p.name)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = syncFolder(filepath.Dir(p.name))
	}
	if err != nil {
		os.Remove(p.temporary)
	}
	return err
}

func (p *pair) commit() error {
	if err := os.Rename(p.temporary, p.name); err != nil {
		os.Remove(p.temporary)
		return err
	}
	return syncFolder(filepath.Dir(p.name))
}
