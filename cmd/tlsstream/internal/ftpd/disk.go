package ftpd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"
)

// partialSuffix is behind the names of uploads that have not ended.
const partialSuffix = ".partial"

// busyNames are the files that uploads in progress write, of all users: their folders
// may overlap. Two uploads into one file would mix.
type busyNames struct {
	mu    sync.Mutex
	names map[string]bool
}

func (b *busyNames) acquire(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.names[path] {
		return false
	}
	if b.names == nil {
		b.names = make(map[string]bool)
	}
	b.names[path] = true
	return true
}

func (b *busyNames) release(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.names, path)
}

// A userDisk is what a user may see and change, as the library asks for it. Paths
// are absolute, clean and below the user's root.
type userDisk struct {
	fs      afero.Fs
	root    string
	session *session
	user    *User
	busy    *busyNames
}

func newUserDisk(s *session, user *User) (*userDisk, error) {
	disk := s.server.config.disk(user.Root)
	if info, err := disk.Stat("/"); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, errors.New("not a folder")
	}
	root, err := filepath.EvalSymlinks(user.Root)
	if err != nil {
		return nil, err
	}
	return &userDisk{fs: disk, root: root, session: s, user: user, busy: &s.server.names}, nil
}

// path is where a name is on the disk.
func (d *userDisk) path(name string) string {
	return filepath.Join(d.root, filepath.FromSlash(name))
}

var (
	_ ftpserver.ClientDriver                      = (*userDisk)(nil)
	_ ftpserver.ClientDriverExtentionFileTransfer = (*userDisk)(nil)
	_ ftpserver.ClientDriverExtensionAllocate     = (*userDisk)(nil)
)

var (
	errBusy    = errors.New("an upload of it is in progress")
	errPartial = fmt.Errorf("%w: what ends in %s is an upload that did not end", ftpserver.ErrFileNameNotAllowed, partialSuffix)
	errHandle  = errors.New("files are opened by GetHandle")
)

func isPartial(name string) bool { return strings.HasSuffix(name, partialSuffix) }

// GetHandle opens a file to be transferred.
func (d *userDisk) GetHandle(name string, flags int, offset int64) (ftpserver.FileTransfer, error) {
	if flags&(os.O_WRONLY|os.O_RDWR) == 0 {
		return d.download(name)
	}
	return d.upload(name, flags, offset)
}

// AllocateSpace answers ALLO, with which a client tells how much it will send: one
// that cannot fit is refused before it is sent.
func (d *userDisk) AllocateSpace(size int) error {
	if err := d.take(int64(size)); err != nil {
		return err
	}
	d.give(int64(size))
	return nil
}

func (d *userDisk) take(n int64) error { return d.user.limits.take(n, d.count) }
func (d *userDisk) give(n int64)       { d.user.limits.give(n) }

// count sums up the sizes of all files below the root.
func (d *userDisk) count() (sum int64, err error) {
	err = afero.Walk(d.fs, "/", func(_ string, info fs.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we walked
		}
		return err
	})
	return sum, err
}

// size is what would be given back if name were taken away.
func (d *userDisk) size(name string) int64 {
	if info, err := d.fs.Stat(name); err == nil && info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

func (d *userDisk) Remove(name string) error {
	if isPartial(name) {
		if !d.busy.acquire(d.path(name)) {
			return errBusy
		}
		defer d.busy.release(d.path(name))
	}
	size := d.size(name)
	if err := d.fs.Remove(name); err != nil {
		return err
	}
	d.give(size)
	d.session.log.Info("removed", "user", d.user.Name, "name", name)
	return nil
}

// Rename refuses what would put a partial upload under a final name.
func (d *userDisk) Rename(from, to string) error {
	if isPartial(from) || isPartial(to) {
		return errPartial
	}
	size := d.size(to)
	if err := d.fs.Rename(from, to); err != nil {
		return err
	}
	if from != to {
		d.give(size)
	}
	d.session.log.Info("renamed", "user", d.user.Name, "from", from, "to", to)
	return nil
}

func (d *userDisk) Mkdir(name string, mode os.FileMode) error {
	if isPartial(name) {
		return errPartial
	}
	return d.fs.Mkdir(name, mode)
}

func (d *userDisk) MkdirAll(name string, mode os.FileMode) error {
	if isPartial(path.Clean(name)) {
		return errPartial
	}
	return d.fs.MkdirAll(name, mode)
}

// Open is for listing folders.
func (d *userDisk) Open(name string) (afero.File, error) { return d.fs.Open(name) }

func (d *userDisk) Stat(name string) (os.FileInfo, error) { return d.fs.Stat(name) }

func (d *userDisk) Chtimes(name string, access, modified time.Time) error {
	return d.fs.Chtimes(name, access, modified)
}

func (d *userDisk) Name() string { return "tlsstream ftpd" }

// The library does not call these, or only for SITE, which is off.

func (d *userDisk) Create(string) (afero.File, error) { return nil, errHandle }
func (d *userDisk) OpenFile(string, int, os.FileMode) (afero.File, error) {
	return nil, errHandle
}
func (d *userDisk) RemoveAll(string) error          { return errors.ErrUnsupported }
func (d *userDisk) Chmod(string, os.FileMode) error { return errors.ErrUnsupported }
func (d *userDisk) Chown(string, int, int) error    { return errors.ErrUnsupported }
