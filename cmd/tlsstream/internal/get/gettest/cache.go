package gettest

import (
	"io"
	"net/http"
	"sync"
)

// A Cache is a caching proxy in front of a server, as a content delivery network is: an http.Handler that keeps what it
// has once fetched for ever. Its key is the URL with the query.
type Cache struct {
	// Origin is the URL of the server, without a path, and Client fetches from it.
	Origin string
	Client *http.Client
	// Stubborn makes it ignore Cache-Control: no-cache of clients, as many are set up to.
	Stubborn bool
	// IgnoresQuery leaves the query out of the key.
	IgnoresQuery bool

	mu    sync.Mutex
	store map[string]*cached // guarded by mu
}

type cached struct {
	status int
	header http.Header
	body   []byte
}

func (c *Cache) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := request.URL.RequestURI()
	if c.IgnoresQuery {
		key = request.URL.Path
	}
	entry := c.store[key]
	if entry == nil || !c.Stubborn && request.Header.Get("Cache-Control") == "no-cache" {
		var err error
		if entry, err = c.fetch(request); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		if c.store == nil {
			c.store = make(map[string]*cached)
		}
		if entry.status == http.StatusOK {
			c.store[key] = entry
		}
	}
	for _, name := range []string{"ETag", "Last-Modified"} {
		if value := entry.header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.Header().Set("Age", "1")
	if tag := entry.header.Get("ETag"); tag != "" && request.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(entry.status)
	w.Write(entry.body)
}

// fetch asks the server, for the whole.
func (c *Cache) fetch(request *http.Request) (*cached, error) {
	response, err := c.Client.Get(c.Origin + request.URL.RequestURI())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return &cached{response.StatusCode, response.Header, body}, err
}
