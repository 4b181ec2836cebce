package ftpd

import (
	"errors"
	"fmt"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"
)

// A download is a file that is being sent.
type download struct {
	file  afero.File
	disk  *userDisk
	name  string
	begun time.Time
	size  int64
	err   error
}

var _ ftpserver.FileTransferError = (*download)(nil)

func (d *userDisk) download(name string) (ftpserver.FileTransfer, error) {
	if err := d.session.begin(nil); err != nil {
		return nil, err
	}
	file, err := d.fs.Open(name)
	if err == nil {
		if info, statErr := file.Stat(); statErr != nil || !info.Mode().IsRegular() {
			file.Close()
			err = fmt.Errorf("%w: it is not a file", ftpserver.ErrFileNameNotAllowed)
		}
	}
	if err != nil {
		d.session.end(nil)
		return nil, err
	}
	return &download{file: file, disk: d, name: name, begun: time.Now()}, nil
}

func (d *download) Read(p []byte) (int, error) {
	if limiter := d.disk.user.limits.out; limiter != nil {
		p = p[:min(len(p), limiter.Burst())]
	}
	n, err := d.file.Read(p)
	d.size += int64(n)
	if waitErr := wait(d.disk.session.ctx, d.disk.user.limits.out, n); waitErr != nil {
		return 0, waitErr
	}
	return n, err
}

func (d *download) Seek(offset int64, whence int) (int64, error) { return d.file.Seek(offset, whence) }

func (d *download) Write([]byte) (int, error) {
	return 0, errors.ErrUnsupported
}

func (d *download) TransferError(err error) { d.err = err }

func (d *download) Close() error {
	defer d.disk.session.end(nil)
	log := d.disk.session.log.With("user", d.disk.user.Name, "name", d.name, "bytes", d.size, "took", time.Since(d.begun).Round(time.Millisecond))
	if d.err != nil {
		log.Warn("download failed", "err", d.err)
	} else {
		log.Info("download complete")
	}
	return d.file.Close()
}
