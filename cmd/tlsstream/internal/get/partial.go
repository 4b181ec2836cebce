package get

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
)

// checkpointBytes is how much arrives between two syncs: a machine that dies costs no more, and syncing costs little.
const checkpointBytes = 4 << 20

const (
	partialSuffix = ".partial"
	stateSuffix   = ".partial.json"
	newSuffix     = ".new" // of a file that is to replace another
)

// A state describes the bytes in a partial file.
type state struct {
	Source    string `json:"source"`    // sourceOf the URL
	Validator string `json:"validator"` // strong, for If-Range
	Total     int64  `json:"total"`     // bytes of the whole; -1 if not known
	Synced    int64  `json:"synced"`    // bytes that are on the disk
}

// sourceOf tells URLs apart without writing down what they may have of secrets.
func sourceOf(from *url.URL) string {
	sum := sha256.Sum256([]byte(from.String()))
	return hex.EncodeToString(sum[:])
}

// A partial is a file that is being downloaded. It is an io.Writer.
type partial struct {
	target string
	file   *os.File // locked; nil when the download has its name
	state  state
	size   int64 // bytes that count
	saved  bool  // there is a state file
	ours   bool  // what is in the file comes from this process
}

// openPartial opens or makes the partial file of target, for what is at from.
func openPartial(target string, from *url.URL) (*partial, error) {
	p := &partial{target: target}
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() {
		return nil, &Error{Local, fmt.Sprintf("%s is not a file", target), "choose another name with --output", nil}
	}
	name := target + partialSuffix
	for {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return nil, local(err)
		}
		if !tryLock(file) {
			file.Close()
			return nil, &Error{Local, name + " is in use by another download", "wait for it, or choose another name with --output", nil}
		}
		mine, err := file.Stat()
		current, err2 := os.Stat(name)
		if err == nil && err2 == nil && os.SameFile(mine, current) {
			p.file = file
			break
		}
		// Between the opening and the lock another process has given this file its name.
		file.Close()
	}
	if err := p.load(sourceOf(from)); err != nil {
		p.close()
		return nil, local(err)
	}
	return p, nil
}

// load finds out how much can be resumed.
func (p *partial) load(source string) error {
	text, err := os.ReadFile(p.target + stateSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	p.saved = true
	var s state
	length, err := p.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if json.Unmarshal(text, &s) != nil || s.Source != source || s.Validator == "" || s.Synced < 0 || s.Synced > length {
		return nil
	}
	p.state, p.size = s, s.Synced
	if s.Total > 0 {
		// Asking for the last byte again tells whether it is still the same file; asking for none would be an error.
		p.size = min(p.size, s.Total-1)
	}
	return nil
}

// reset empties the file for the representation that s describes.
func (p *partial) reset(s state) error {
	if p.saved {
		if err := os.Remove(p.target + stateSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		// The bytes must not outlive the end of their description.
		if err := syncFolder(filepath.Dir(p.target)); err != nil {
			return err
		}
		p.saved = false
	}
	p.state, p.size, p.ours = s, 0, true
	return p.rewind()
}

// rewind puts the end of the file behind the bytes that count.
func (p *partial) rewind() error {
	if err := p.file.Truncate(p.size); err != nil {
		return err
	}
	_, err := p.file.Seek(p.size, io.SeekStart)
	return err
}

// Write appends.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.size += int64(n)
	if err == nil && p.size-p.state.Synced >= checkpointBytes {
		err = p.checkpoint()
	}
	return n, err
}

// checkpoint makes what has arrived safe and writes down how much that is, if it can be resumed.
func (p *partial) checkpoint() error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	p.state.Synced = p.size
	if p.state.Validator == "" {
		return nil
	}
	text, err := json.Marshal(p.state)
	if err != nil {
		return err
	}
	name := p.target + stateSuffix
	if err := os.WriteFile(name+newSuffix, text, 0o666); err != nil {
		return err
	}
	p.saved = true
	return os.Rename(name+newSuffix, name)
}

// resumable tells whether the next run can go on from here.
func (p *partial) resumable() bool { return p.saved && p.size > 0 }

// commit gives the file its name. It is on the disk then.
func (p *partial) commit() error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	if !renamesOpen {
		if err := p.file.Close(); err != nil {
			return err
		}
	}
	if err := os.Rename(p.target+partialSuffix, p.target); err != nil {
		return err
	}
	if renamesOpen {
		defer p.file.Close()
	}
	p.file = nil
	p.removeState()
	return syncFolder(filepath.Dir(p.target))
}

// leave ends the work on a download that failed. What the next run can go on from stays.
func (p *partial) leave() error {
	if p.file == nil {
		return nil
	}
	defer p.close()
	if p.ours && p.size > p.state.Synced {
		if err := p.checkpoint(); err != nil {
			return err
		}
	}
	if p.resumable() || p.saved && !p.ours {
		return nil
	}
	p.discard()
	return nil
}

// discard removes a file that is of no use to anybody.
func (p *partial) discard() {
	if p.file == nil {
		return
	}
	p.removeState()
	if !renamesOpen {
		p.close()
	}
	os.Remove(p.target + partialSuffix)
	p.close()
}

func (p *partial) removeState() {
	os.Remove(p.target + stateSuffix)
	os.Remove(p.target + stateSuffix + newSuffix)
	p.saved = false
}

func (p *partial) close() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}
