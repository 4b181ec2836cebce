package main

import (
	"bufio"
	"errors"
	"os"

	"github.com/deferredtls/deferredtls/torture"
)

// A page is the file of --html; nil without the flag. It is made before the plan runs, so that a bad name is told at
// once, and removed if the plan does not end.
type page struct {
	file *os.File
	done bool
}

func (flags *tortureFlags) createPage() (*page, error) {
	if flags.html == "" {
		return nil, nil
	}
	file, err := os.Create(flags.html)
	if err != nil {
		return nil, &usageError{err.Error(), "give --html a file that can be written"}
	}
	return &page{file: file}, nil
}

func (p *page) write(report *torture.Report) error {
	if p == nil {
		return nil
	}
	p.done = true
	buffered := bufio.NewWriter(p.file)
	return errors.Join(report.WriteHTML(buffered), buffered.Flush(), p.file.Close())
}

// discard removes a page that was not written.
func (p *page) discard() {
	if p == nil || p.done {
		return
	}
	p.file.Close()
	os.Remove(p.file.Name())
}
