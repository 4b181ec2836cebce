package get

import (
	"net/http"
	"strings"
	"time"
)

// minModifiedAge is how old a Last-Modified must be at the time of the response to count as a strong validator: what is
// changed twice in a second keeps its date. RFC 9110 8.8.2.2 asks for one second, its forerunners for 60; clocks of
// servers and of their file systems differ.
const minModifiedAge = 60 * time.Second

// strongValidator returns what If-Range may carry (RFC 9110 13.1.5) for a response with this header; empty if there is nothing.
func strongValidator(header http.Header) string {
	if tag := header.Get("ETag"); tag != "" {
		if strings.HasPrefix(tag, "W/") {
			return ""
		}
		return tag
	}
	modified, err := http.ParseTime(header.Get("Last-Modified"))
	date, err2 := http.ParseTime(header.Get("Date"))
	if err != nil || err2 != nil || date.Sub(modified) < minModifiedAge {
		return ""
	}
	return header.Get("Last-Modified")
}
