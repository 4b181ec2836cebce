package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A getDocument is what --json prints. The help of the command describes it.
type getDocument struct {
	Version    int           `json:"version"`
	ExitStatus int           `json:"exit_status"`
	Status     get.Kind      `json:"status"`
	URL        string        `json:"url"`
	File       string        `json:"file"`
	Bytes      int64         `json:"bytes"`
	Total      *int64        `json:"total_bytes"`
	Resumed    int64         `json:"resumed_at"`
	Ending     get.Ending    `json:"ending"`
	Partial    string        `json:"partial"`
	Error      string        `json:"error"`
	Hint       string        `json:"hint"`
	Alert      *getAlert     `json:"alert"`
	Signature  *getSignature `json:"signature"`
}

type getAlert struct {
	Number uint8  `json:"number"`
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

type getSignature struct {
	File     string `json:"file"`
	Attempts int    `json:"attempts"`
	Key      string `json:"key"`
	Signer   string `json:"signer"`
}

func newGetDocument(result *get.Result, err error) *getDocument {
	doc := &getDocument{
		Version: getFormat, ExitStatus: getExitOf(result.Kind), Status: result.Kind, URL: result.URL, File: result.File,
		Bytes: result.Bytes, Resumed: result.Resumed, Ending: result.Ending, Partial: result.Partial,
	}
	if result.Total >= 0 {
		doc.Total = &result.Total
	}
	if err != nil {
		doc.Error, doc.Hint, doc.Ending = err.Error(), getHint(result, err), ""
		if alert, ok := errors.AsType[*tlsstream.AlertError](err); ok && result.Kind == get.Alert {
			doc.Alert = &getAlert{uint8(alert.Alert), alert.Alert.String(), alert.Reason}
		}
	}
	if p := result.Pair; p != nil {
		doc.Signature = &getSignature{p.File, p.Attempts, p.Fingerprint, p.Signer}
	}
	return doc
}

// endingText is how a reader would say it.
var endingText = map[get.Ending]string{
	get.ContentLength: "all of its Content-Length has come",
	get.LastChunk:     "its last chunk has come",
	get.CloseNotify:   "its end was told by close_notify",
}

func writeGet(w io.Writer, result *get.Result) error {
	out := &errWriter{w: w}
	fmt.Fprintf(out, "%s: %d bytes, whole: %s\n", result.File, result.Bytes, endingText[result.Ending])
	if p := result.Pair; p != nil {
		fmt.Fprintf(out, "%s: a good signature of %s, key %s\n", p.File, p.Signer, p.Fingerprint)
	}
	return out.err
}
