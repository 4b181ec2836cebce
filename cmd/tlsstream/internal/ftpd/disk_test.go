package ftpd

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
)

// A faultyDisk notes what is done to files, and fails at one thing.
type faultyDisk struct {
	afero.Fs
	fault string

	mu   sync.Mutex
	done []string // guarded by mu
}

var errFault = errors.New("the disk is broken")

func (d *faultyDisk) do(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done = append(d.done, what); what == d.fault {
		return errFault
	}
	return nil
}

func (d *faultyDisk) OpenFile(name string, flag int, mode os.FileMode) (afero.File, error) {
	file, err := d.Fs.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, d, ""}, nil
}

func (d *faultyDisk) Open(name string) (afero.File, error) {
	file, err := d.Fs.Open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, d, "folder "}, nil
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.do("rename " + from + " " + to); err != nil {
		return err
	}
	return d.Fs.Rename(from, to)
}

type faultyFile struct {
	afero.File
	disk *faultyDisk
	kind string
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.disk.do("write"); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.disk.do(f.kind + "sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Close() error {
	err := f.File.Close()
	if f.kind == "" {
		err = errors.Join(f.disk.do("close"), err)
	}
	return err
}

// The content is on the disk before the name, and the name before the reply; and
// the client hears of it if one of these failed.
func TestFileIsDurableBeforeItsName(t *testing.T) {
	content := []byte("content")
	steps := []string{"write", "sync", "close", "rename /name.partial /name", "folder sync"}
	for i, fault := range append([]string{""}, steps...) {
		t.Run(fault, func(t *testing.T) {
			disk := &faultyDisk{fault: fault}
			s := startServer(t, func(c *Config) {
				c.disk = func(root string) afero.Fs {
					disk.Fs = afero.NewBasePathFs(afero.NewOsFs(), root)
					return disk
				}
			})
			c := loginRaw(t, s)
			code, message := c.put("STOR", "name", content)
			if fault == "" {
				if code != 226 {
					t.Errorf("the reply is %d %s", code, message)
				}
				if diff := cmp.Diff(steps, disk.done); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			if code != 550 || !strings.Contains(message, errFault.Error()) {
				t.Errorf("the reply is %d %s", code, message)
			}
			if renamed := s.has(t, "name") != ""; renamed != (i == len(steps)) {
				t.Errorf("the file has its name: %v", renamed)
			}
			if !slices.Contains(disk.done, fault) {
				t.Error("the disk did not fail")
			}
		})
	}
}
