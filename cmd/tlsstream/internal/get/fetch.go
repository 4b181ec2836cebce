package get

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A request is one way to ask for something.
type request struct {
	from  *url.URL
	fresh bool // caches must ask the server
	etag  string
}

func (r request) header() http.Header {
	header := make(http.Header)
	if r.fresh {
		header.Set("Cache-Control", "no-cache")
		header.Set("Pragma", "no-cache") // for caches of HTTP/1.0
	}
	if r.etag != "" {
		header.Set("If-None-Match", r.etag)
	}
	return header
}

// fetchFile brings the partial file to the whole of what r asks for. With an etag, the file is left as it is if the
// server says that it still has that.
func (g *getter) fetchFile(ctx context.Context, r request) error {
	header := r.header()
	offset := g.partial.size
	if r.etag != "" || g.partial.ours {
		offset = 0 // what is there is whole, or of another attempt
	}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		header.Set("If-Range", g.partial.state.Validator)
	}
	response, err := g.client.do(ctx, r.from, header)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	g.result.URL = response.Request.URL.Redacted()
	if g.pair != nil {
		g.pair.saw(response.Header)
	}

	switch response.StatusCode {
	case http.StatusNotModified:
		if r.etag == "" {
			return statusError(response)
		}
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		if offset == 0 {
			return statusError(response)
		}
		g.note("the server does not have the range that is missing: starting again")
		return g.again(ctx, r)
	case http.StatusPartialContent:
		if offset == 0 {
			return &Error{Protocol, "the server sent a part, and was asked for the whole", "", nil}
		}
		total, err := partOf(response, offset, g.partial.state)
		if err != nil {
			g.note("cannot go on at byte %d, since %v: starting again", offset, err)
			return g.again(ctx, r)
		}
		g.partial.state.Total = total
		if err := g.partial.rewind(); err != nil {
			return local(err)
		}
		g.partial.ours = true
		g.result.Resumed = offset
		g.note("going on at byte %d", offset)
	case http.StatusOK:
		if offset > 0 {
			g.note("the file has changed, or the server sends no ranges: starting again")
		}
		s := state{Source: sourceOf(g.URL), Validator: strongValidator(response.Header), Total: response.ContentLength}
		if err := g.partial.reset(s); err != nil {
			return local(err)
		}
		g.result.Resumed = 0
	default:
		return statusError(response)
	}
	g.etag = ""
	if err := g.copyBody(ctx, response); err != nil {
		return err
	}
	g.etag = response.Header.Get("ETag")
	return nil
}

// again asks for the whole file, once.
func (g *getter) again(ctx context.Context, r request) error {
	if err := g.partial.reset(state{Total: -1}); err != nil {
		return local(err)
	}
	return g.fetchFile(ctx, r)
}

// partOf checks that a 206 response goes on where the partial file ends, in the same representation, and returns its
// whole length, or -1.
func partOf(response *http.Response, offset int64, s state) (total int64, err error) {
	span := response.Header.Get("Content-Range")
	bad := fmt.Errorf("the server answered with Content-Range %q", span)
	rest, ok := strings.CutPrefix(span, "bytes ")
	span, length, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || !ok2 || !ok3 || err != nil || err2 != nil || from != offset || to < from {
		return 0, bad
	}
	total = s.Total
	if length != "*" {
		if total, err = strconv.ParseInt(length, 10, 64); err != nil || total <= to {
			return 0, bad
		}
	}
	if s.Total >= 0 && total != s.Total {
		return 0, fmt.Errorf("the file had %d bytes, and has %d", s.Total, total)
	}
	field := "Last-Modified"
	if strings.HasPrefix(s.Validator, `"`) {
		field = "ETag"
	}
	if now := response.Header.Get(field); now != "" && now != s.Validator {
		return 0, fmt.Errorf("the server ignored If-Range: its %s was %q, and is %q", field, s.Validator, now)
	}
	if response.ContentLength >= 0 && response.ContentLength != to-from+1 {
		return 0, bad
	}
	return total, nil
}

// statusError is for a response with which there is no file.
func statusError(response *http.Response) *Error {
	hint := "check the URL"
	switch {
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		hint = "try again later"
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		hint = "the server wants other credentials: https://USER:PASSWORD@HOST/..."
	}
	return &Error{Status, fmt.Sprintf("the server answered %q for %s", response.Status, response.Request.URL.Redacted()), hint, nil}
}

// copyBody appends a response to the partial file, up to its authenticated end.
func (g *getter) copyBody(ctx context.Context, response *http.Response) error {
	p := g.partial
	total := p.state.Total
	g.result.Total = total
	if err := g.tooLarge(total); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := response.Body.Read(buf)
		if n > 0 {
			if err := g.tooLarge(p.size + int64(n)); err != nil {
				return err
			}
			if _, err := p.Write(buf[:n]); err != nil {
				return local(err)
			}
			if g.Progress != nil {
				g.Progress(p.size, total)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return explain(ctx, err, g.client.end(), progressText(p.size, total))
		}
	}
	if total >= 0 && p.size != total {
		return &Error{Truncated, "the server ended its response " + progressText(p.size, total), "", nil}
	}
	g.result.Total = p.size
	g.result.Ending = endingOf(response)
	return nil
}

func (g *getter) tooLarge(size int64) error {
	if g.MaxBytes == 0 || size <= g.MaxBytes {
		return nil
	}
	return &Error{Protocol, fmt.Sprintf("the file has more than the %d bytes of --max-size", g.MaxBytes), "raise --max-size, if you want it", nil}
}

func progressText(done, total int64) string {
	if total < 0 {
		return fmt.Sprintf("after %d bytes of a file of unknown length", done)
	}
	return fmt.Sprintf("after %d of %d bytes", done, total)
}

// endingOf tells how a body that was read to io.EOF could end so.
func endingOf(response *http.Response) Ending {
	switch {
	case slices.Contains(response.TransferEncoding, "chunked"):
		return LastChunk
	case response.ContentLength >= 0:
		return ContentLength
	}
	return CloseNotify
}
