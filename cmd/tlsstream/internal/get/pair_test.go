package get_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get/gettest"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

var (
	testCA = tlstest.NewCA()
	signer = gettest.NewSigner("release")
)

// serve starts an HTTPS server and returns its URL without a path.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = testCA.ServerConfig()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func plainClient(t testing.TB) *http.Client {
	transport := &http.Transport{TLSClientConfig: testCA.ClientConfig()}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func mustURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// configFor downloads from a server into a folder.
func configFor(t testing.TB, address, folder string) get.Config {
	return get.Config{
		URL:     mustURL(t, address),
		Output:  filepath.Join(folder, filepath.Base(address)),
		TLS:     &tls.Config{RootCAs: testCA.Pool()},
		Timeout: 20 * time.Second,
		Note:    func(line string) { t.Log(line) },
	}
}

func pairConfig(t testing.TB, server, folder string) get.Config {
	config := configFor(t, server+gettest.FilePath, folder)
	config.Signature = mustURL(t, server+gettest.SignaturePath)
	config.Keyring = openpgp.EntityList{signer}
	return config
}

// checkFolder wants either a pair that matches, or nothing but what was there before.
func checkFolder(t testing.TB, folder string, whole bool) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !whole {
		if len(names) > 0 {
			t.Errorf("left behind: %v", names)
		}
		return
	}
	if diff := cmp.Diff([]string{"repomd.xml", "repomd.xml.asc"}, names); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	if err := match(t, folder); err != nil {
		t.Error(err)
	}
}

func match(t testing.TB, folder string) error {
	file, err := os.Open(filepath.Join(folder, "repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	signature, err := os.Open(filepath.Join(folder, "repomd.xml.asc"))
	if err != nil {
		t.Fatal(err)
	}
	defer signature.Close()
	_, err = openpgp.CheckArmoredDetachedSignature(openpgp.EntityList{signer}, file, signature, nil)
	return err
}

// A pair is what comes of a repository that is swapped between the two requests, and of caches that hold an old one of
// the two, or a clear error.
func TestPairMatchesOrIsAnError(t *testing.T) {
	type caseOf struct {
		name     string
		repo     *gettest.Repo
		cache    *gettest.Cache // nil for none
		stale    string         // the path of which the cache has the version before
		attempts int            // wanted; 0 for an error
	}
	cases := []caseOf{
		{name: "nothing happens", repo: &gettest.Repo{}, attempts: 1},
		{name: "one swap", repo: &gettest.Repo{Swaps: 1}, attempts: 2},
		{name: "swap after swap", repo: &gettest.Repo{Swaps: 3}, attempts: 4},
		{name: "swapped for ever", repo: &gettest.Repo{Swaps: -1}},
		{name: "one swap, no validators", repo: &gettest.Repo{Swaps: 1, ETags: "none", NoDates: true}, attempts: 2},
		{name: "one swap, weak ETags", repo: &gettest.Repo{Swaps: 1, ETags: "weak"}, attempts: 2},
		{name: "one swap, one ETag for all", repo: &gettest.Repo{Swaps: 1, ETags: "same", SameDate: true}, attempts: 4},
		{name: "swaps, queries rejected", repo: &gettest.Repo{Swaps: 2, OnQuery: 400}, attempts: 3},
		{name: "swaps, queries not found", repo: &gettest.Repo{Swaps: 2, OnQuery: 404, ETags: "none"}, attempts: 3},
		{name: "swaps, queries get a page", repo: &gettest.Repo{Swaps: 2, OnQuery: 200}, attempts: 4},
		{name: "swaps, no dates", repo: &gettest.Repo{Swaps: 2, NoDates: true}, attempts: 3},
	}
	for _, stale := range []string{gettest.FilePath, gettest.SignaturePath} {
		for _, tags := range []string{"strong", "weak", "none"} {
			name := fmt.Sprintf("%s stale, ETags %s", stale, tags)
			cases = append(cases,
				caseOf{name + ", a cache that listens", &gettest.Repo{ETags: tags}, &gettest.Cache{}, stale, 2},
				caseOf{name + ", a stubborn cache", &gettest.Repo{ETags: tags}, &gettest.Cache{Stubborn: true}, stale, 3},
				caseOf{name + ", and one swap", &gettest.Repo{ETags: tags, Swaps: 1}, &gettest.Cache{Stubborn: true}, stale, -1},
			)
		}
		cases = append(cases,
			caseOf{stale + " stale, a cache that ignores all", &gettest.Repo{}, &gettest.Cache{Stubborn: true, IgnoresQuery: true}, stale, 0},
			caseOf{stale + " stale, a stubborn cache, queries rejected", &gettest.Repo{OnQuery: 400}, &gettest.Cache{Stubborn: true}, stale, 0},
			caseOf{stale + " stale, a stubborn cache, no dates", &gettest.Repo{NoDates: true}, &gettest.Cache{Stubborn: true}, stale, 0},
			caseOf{stale + " stale, a cache that listens, no validators, queries rejected",
				&gettest.Repo{ETags: "none", NoDates: true, OnQuery: 501}, &gettest.Cache{}, stale, 2},
		)
	}
	for _, test := range cases {
		t.Run(strings.ReplaceAll(test.name, "/", "_"), func(t *testing.T) {
			t.Parallel()
			repo := test.repo
			repo.Signer = signer
			if repo.ETags == "" {
				repo.ETags = "strong"
			}
			server := serve(t, repo)
			if test.cache != nil {
				test.cache.Origin, test.cache.Client = server, plainClient(t)
				server = serve(t, test.cache)
				swaps := repo.Swaps
				repo.Swaps = 0
				fetch(t, server+test.stale)
				repo.Swap()
				repo.Swaps = swaps
			}
			folder := t.TempDir()
			result, err := get.Run(t.Context(), pairConfig(t, server, folder))
			t.Log(strings.Join(repo.Requests(), "\n"))
			if test.attempts == 0 {
				if result.Kind != get.Signature || !strings.Contains(err.Error(), "does not match the file") {
					t.Errorf("%v, %v", result.Kind, err)
				}
				checkFolder(t, folder, false)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.attempts > 0 && result.Pair.Attempts != test.attempts {
				t.Errorf("%d attempts, want %d", result.Pair.Attempts, test.attempts)
			}
			checkFolder(t, folder, true)
			if want := fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint); result.Pair.Fingerprint != want {
				t.Errorf("key %s, want %s", result.Pair.Fingerprint, want)
			}
		})
	}
}

// fetch is what a client does that knows nothing of all this.
func fetch(t testing.TB, address string) string {
	t.Helper()
	response, err := plainClient(t).Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %v", address, response.Status, err)
	}
	return string(body)
}

// The control: one request each makes a pair that does not match.
func TestPairOfPlainRequestsDoesNotMatch(t *testing.T) {
	server := serve(t, &gettest.Repo{Signer: signer, Swaps: 1, ETags: "strong"})
	folder := t.TempDir()
	for _, path := range []string{gettest.FilePath, gettest.SignaturePath} {
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(path)), []byte(fetch(t, server+path)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if match(t, folder) == nil {
		t.Error("the server's swap does no harm: the other tests show nothing")
	}
}

// What is asked for, in its order. A file that is the same is not sent again.
func TestPairRequests(t *testing.T) {
	repo := &gettest.Repo{Signer: signer, ETags: "strong"}
	cache := &gettest.Cache{Origin: serve(t, repo), Client: plainClient(t), Stubborn: true}
	server := serve(t, cache)
	fetch(t, server+gettest.SignaturePath)
	repo.Swap()
	folder := t.TempDir()
	if _, err := get.Run(t.Context(), pairConfig(t, server, folder)); err != nil {
		t.Fatal(err)
	}
	// The cache passes on what it has not seen, without the headers of conditions.
	want := []string{
		"/repodata/repomd.xml.asc", "/repodata/repomd.xml",
		"/repodata/repomd.xml?tlsstream-modified=1767225601", "/repodata/repomd.xml.asc?tlsstream-modified=1767225601",
	}
	if diff := cmp.Diff(want, repo.Requests()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	direct := &gettest.Repo{Signer: signer, ETags: "strong", Swaps: -1, OnQuery: 400}
	if _, err := get.Run(t.Context(), pairConfig(t, serve(t, direct), folder)); err == nil {
		t.Fatal("a pair of a repository that never stands still")
	}
	query := func(s string) bool { return strings.Contains(s, "?") }
	requests := direct.Requests()
	if i := slices.IndexFunc(requests, query); i < 0 || slices.ContainsFunc(requests[i+1:], query) {
		t.Errorf("a server that rejects queries is to see one:\n%s", strings.Join(requests, "\n"))
	}
	if want := `/repodata/repomd.xml no-cache "0"`; !slices.Contains(requests, want) {
		t.Errorf("no %q in\n%s", want, strings.Join(requests, "\n"))
	}
	checkFolder(t, folder, true) // the one from before
}

// Keys that are not in the keyring are not a matter of time.
func TestPairByAnotherKey(t *testing.T) {
	repo := &gettest.Repo{Signer: gettest.NewSigner("mallory"), ETags: "strong"}
	folder := t.TempDir()
	result, err := get.Run(t.Context(), pairConfig(t, serve(t, repo), folder))
	if result.Kind != get.Signature || !strings.Contains(err.Error(), "by a key that the keyring does not have") || result.Pair.Attempts != 3 {
		t.Errorf("%v after %d attempts: %v", result.Kind, result.Pair.Attempts, err)
	}
	checkFolder(t, folder, false)
}

// A signature may be missing, be no signature, have no end, or be cut.
func TestPairWithABadSignature(t *testing.T) {
	answers := map[string]struct {
		h    http.HandlerFunc
		want get.Kind
	}{
		"missing": {http.NotFound, get.Status},
		"text":    {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }, get.Signature},
		"empty":   {func(http.ResponseWriter, *http.Request) {}, get.Signature},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, get.Protocol},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
		}, get.Truncated},
	}
	for name, test := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			mux.Handle(gettest.FilePath, &gettest.Repo{Signer: signer, ETags: "strong"})
			mux.HandleFunc(gettest.SignaturePath, test.h)
			folder := t.TempDir()
			result, err := get.Run(t.Context(), pairConfig(t, serve(t, mux), folder))
			var failure *get.Error
			if !errors.As(err, &failure) || failure.Kind != test.want {
				t.Errorf("%v: %v", result.Kind, err)
			}
			for _, name := range []string{"repomd.xml", "repomd.xml.asc"} {
				if _, err := os.Stat(filepath.Join(folder, name)); err == nil {
					t.Errorf("%s is there", name)
				}
			}
		})
	}
}
