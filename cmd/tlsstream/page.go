package main

import (
	"bufio"
	"errors"
	"io"
	"os"
)

// A page is the file of --html; nil without the flag. It is opened before the plan runs, so that a bad name is told at
// once. What was in it stays until there is a report, and only a file that was not there before is removed if the plan
// does not end.
type page struct {
	file    *os.File
	created bool
	done    bool
}

func createPage(name string) (*page, error) {
	if name == "" {
		return nil, nil
	}
	const mode = 0o666
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	created := err == nil
	if !created {
		file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE, mode)
	}
	if err != nil {
		return nil, &usageError{err.Error(), "give --html a file that can be written"}
	}
	return &page{file: file, created: created}, nil
}

func (p *page) write(report interface{ WriteHTML(io.Writer) error }) error {
	if p == nil {
		return nil
	}
	p.done = true
	if info, err := p.file.Stat(); err == nil && info.Mode().IsRegular() {
		if err := p.file.Truncate(0); err != nil {
			return err
		}
	}
	buffered := bufio.NewWriter(p.file)
	return errors.Join(report.WriteHTML(buffered), buffered.Flush(), p.file.Close())
}

// discard leaves no page that was not written.
func (p *page) discard() {
	if p == nil || p.done {
		return
	}
	p.file.Close()
	if p.created {
		os.Remove(p.file.Name())
	}
}
