package ftpd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"sync/atomic"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"
)

// An upload is a file that is being received. It is written as NAME.partial, and
// renamed to NAME when the library closes it without having called TransferError:
// the data connection reports every end but close_notify as an error, so whatever
// else happens, the death of this process included, leaves NAME as it was.
//
// The library calls its methods one after the other.
type upload struct {
	disk    *userDisk
	name    string
	partial string
	file    afero.File
	begun   time.Time

	started bool  // something was written, or whatever the file held is gone
	existed bool  // there was a .partial before
	start   int64 // where writing begins
	size    int64
	err     error // the first error

	complete atomic.Bool // it has its name
}

var _ ftpserver.FileTransferError = (*upload)(nil)

// filePermissions are for new files, before umask.
const filePermissions = 0o666

func (d *userDisk) upload(name string, flags int, offset int64) (ftpserver.FileTransfer, error) {
	if isPartial(name) {
		return nil, errPartial
	}
	if info, err := d.fs.Stat(name); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%w: it is a folder", ftpserver.ErrFileNameNotAllowed)
	}
	u := &upload{disk: d, name: name, partial: name + partialSuffix, begun: time.Now()}
	if !d.busy.acquire(d.path(u.partial)) {
		return nil, errBusy
	}
	err := d.session.begin(u)
	if err == nil {
		if err = u.open(flags&os.O_APPEND != 0, offset); err != nil {
			d.session.end(u)
		}
	}
	if err != nil {
		d.busy.release(d.path(u.partial))
		return nil, err
	}
	d.session.log.Info("upload begun", "user", d.user.Name, "name", name)
	return u, nil
}

// open opens the .partial. A client that resumes, or appends, continues a copy, so
// that the file it continues stays what it is until the upload has ended.
func (u *upload) open(appending bool, offset int64) error {
	disk := u.disk.fs
	_, err := disk.Stat(u.partial)
	u.existed = err == nil
	source := u.name
	if _, err := disk.Stat(u.name); errors.Is(err, fs.ErrNotExist) && u.existed {
		// Never in place of a file that is there: what a client asks the size
		// of, and continues, is that one.
		source = u.partial
	}
	u.file, err = disk.OpenFile(u.partial, os.O_RDWR|os.O_CREATE, filePermissions)
	if err != nil {
		return err
	}
	switch {
	case appending:
		_, err = u.copyFrom(u.name, -1)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	case offset > 0 && source == u.partial:
		err = u.keep(offset)
	case offset > 0:
		_, err = u.copyFrom(source, offset)
	case offset < 0:
		err = fmt.Errorf("no file can be resumed at %d", offset)
	}
	if err != nil {
		u.file.Close()
		if !u.existed {
			u.disk.give(u.start)
			disk.Remove(u.partial)
		}
	}
	return err
}

// keep continues the .partial itself at offset.
func (u *upload) keep(offset int64) error {
	info, err := u.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < offset {
		return fmt.Errorf("cannot resume at %d: only %d bytes are here", offset, info.Size())
	}
	if err := u.file.Truncate(offset); err != nil {
		return err
	}
	u.disk.give(info.Size() - offset)
	u.started, u.start = true, offset
	_, err = u.file.Seek(offset, io.SeekStart)
	return err
}

// copyFrom begins the .partial with the first n bytes of another file, or all if n
// is negative.
func (u *upload) copyFrom(name string, n int64) (int64, error) {
	source, err := u.disk.fs.Open(name)
	if err != nil {
		return 0, err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return 0, err
	}
	if n < 0 {
		n = info.Size()
	}
	if info.Size() < n {
		return 0, fmt.Errorf("cannot resume at %d: only %d bytes are here", n, info.Size())
	}
	if err := u.begin(); err != nil {
		return 0, err
	}
	if err := u.disk.take(n); err != nil {
		return 0, err
	}
	u.start, err = io.CopyN(u.file, source, n)
	u.disk.give(n - u.start)
	return u.start, err
}

// begin drops what an earlier upload left.
func (u *upload) begin() error {
	if u.started {
		return nil
	}
	u.disk.give(u.disk.size(u.partial))
	u.started = true
	return u.file.Truncate(0)
}

func (u *upload) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil // how the library closes an upload of nothing
	}
	if err := u.begin(); err != nil {
		return 0, u.fail(err)
	}
	if err := wait(u.disk.session.ctx, u.disk.user.limits.in, len(p)); err != nil {
		return 0, u.fail(err)
	}
	if err := u.disk.take(int64(len(p))); err != nil {
		return 0, u.fail(err)
	}
	n, err := u.file.Write(p)
	u.size += int64(n)
	u.disk.give(int64(len(p) - n))
	if err != nil {
		return n, u.fail(err)
	}
	return n, nil
}

// Seek is called with the offset that GetHandle was given.
func (u *upload) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset != u.start {
		return 0, errors.ErrUnsupported
	}
	return offset, nil
}

func (u *upload) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// TransferError is called if the transfer did not end properly.
func (u *upload) TransferError(err error) { u.fail(err) }

func (u *upload) fail(err error) error {
	if u.err == nil {
		u.err = err
	}
	return err
}

var errEmpty = errors.New("truncated: the data connection ended without close_notify, and nothing came")

var errLeft = errors.New("the client left before the reply to its upload")

// Close ends the upload. Its error is what the client is told.
func (u *upload) Close() error {
	s := u.disk.session
	defer s.end(u)
	defer u.disk.busy.release(u.disk.path(u.partial))
	bare := s.bareEnd()
	if u.err == nil && bare && u.size == 0 {
		// A client that died before it sent anything looks just so, even in
		// the middle of the handshake.
		u.fail(errEmpty)
	}
	if u.err == nil {
		u.fail(u.finish())
	}
	log := s.log.With("user", u.disk.user.Name, "name", u.name, "bytes", u.size, "took", time.Since(u.begun).Round(time.Millisecond))
	if u.err == nil {
		log.Info("upload complete", "close_notify", !bare)
		return nil
	}
	u.file.Close()
	if !u.started && !u.existed {
		u.disk.fs.Remove(u.partial)
		log.Warn("upload failed, nothing came", "err", u.err)
		return u.err
	}
	log.Warn("upload failed, what came is kept", "as", u.partial, "err", u.err)
	return u.err
}

// settle is how long after close_notify a file waits for its name. curl that gives
// up (--max-time) sends close_notify all the same, and then closes the control
// connection, too. The time passes while the disk works.
const settle = 50 * time.Millisecond

// finish makes the file durable, then visible under its name.
func (u *upload) finish() error {
	patience := time.NewTimer(settle)
	defer patience.Stop()
	if err := u.begin(); err != nil {
		return err
	}
	if err := u.file.Sync(); err != nil {
		return err
	}
	if err := u.file.Close(); err != nil {
		return err
	}
	// Without a reply no upload is done, and who gives up does not wait for it.
	left := u.disk.session.left
	select {
	case <-left.Done():
	case <-patience.C:
	}
	if left.Err() != nil {
		return errLeft
	}
	replaced := u.disk.size(u.name)
	if err := u.disk.fs.Rename(u.partial, u.name); err != nil {
		return err
	}
	u.complete.Store(true)
	u.disk.give(replaced)
	return u.disk.syncFolder(path.Dir(u.name))
}

// syncFolder makes a rename durable. Windows has no such thing.
func (d *userDisk) syncFolder(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	folder, err := d.fs.Open(name)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
