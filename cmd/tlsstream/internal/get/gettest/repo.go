// Package gettest has servers for tests of downloads: one that ends in all ways, a repository that is swapped at the
// worst moment, and a caching proxy.
package gettest

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// The paths of the files of a [Repo], as an rpm repository has them.
const (
	FilePath      = "/repodata/repomd.xml"
	SignaturePath = "/repodata/repomd.xml.asc"
)

// NewSigner returns a key.
func NewSigner(name string) *openpgp.Entity {
	key, err := openpgp.NewEntity(name, "", name+"@example.com", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		panic(err)
	}
	return key
}

// A Repo is an http.Handler that serves a file and its detached signature. The fields are set before it serves.
type Repo struct {
	Signer *openpgp.Entity

	// Swaps is how often a new version appears right after the file has been sent, and before the signature is asked for;
	// without end if negative.
	Swaps int
	// ETags is strong, weak, none, or same: one that does not change with the content.
	ETags string
	// NoDates leaves Last-Modified out; SameDate makes it the same for all versions.
	NoDates, SameDate bool
	// OnQuery is what a request with a query gets: a status, 200 for an error page with that status, or 0 for the file.
	OnQuery int

	mu       sync.Mutex
	version  int      // guarded by mu
	requests []string // guarded by mu; what was asked for, with the query and the headers that matter
}

// Swap makes a new version.
func (r *Repo) Swap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version++
}

// Requests returns what was asked for.
func (r *Repo) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.requests...)
}

// File is the content of a version. All versions are of one length, as those of a repository often are.
func (r *Repo) File(version int) string {
	return fmt.Sprintf("<repomd><revision>%09d</revision></repomd>\n", version)
}

func (r *Repo) signature(version int) string {
	var text bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&text, r.Signer, strings.NewReader(r.File(version)), nil); err != nil {
		panic(err)
	}
	return text.String()
}

func (r *Repo) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, strings.TrimSpace(fmt.Sprintf("%s %s %s", request.URL.RequestURI(),
		request.Header.Get("Cache-Control"), request.Header.Get("If-None-Match"))))
	if request.URL.RawQuery != "" && r.OnQuery != 0 {
		w.WriteHeader(r.OnQuery)
		fmt.Fprintln(w, "<html>what is this?</html>")
		return
	}
	var content string
	switch request.URL.Path {
	case FilePath:
		content = r.File(r.version)
	case SignaturePath:
		content = r.signature(r.version)
	default:
		http.NotFound(w, request)
		return
	}
	defer func() {
		// Whatever was sent is of the version before.
		if request.URL.Path == FilePath && r.Swaps != 0 {
			r.Swaps--
			r.version++
		}
	}()

	tag := map[string]string{"strong": fmt.Sprintf(`"%d"`, r.version), "weak": fmt.Sprintf(`W/"%d"`, r.version), "same": `"0"`}[r.ETags]
	if tag != "" {
		w.Header().Set("ETag", tag)
	}
	if !r.NoDates {
		modified := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		if !r.SameDate {
			modified = modified.Add(time.Duration(r.version) * time.Second)
		}
		w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
	}
	if tag != "" && request.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	fmt.Fprint(w, content)
}
