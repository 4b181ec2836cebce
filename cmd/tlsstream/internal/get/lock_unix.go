//go:build unix

package get

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// renamesOpen tells whether a file that is open can be renamed, so that the lock on it lasts until it has its name.
const renamesOpen = true

// tryLock locks the open file, against other processes too, until it is closed, and reports whether that is possible. File
// systems that know no locks, as some on the network, are no reason to download nothing.
func tryLock(file *os.File) bool {
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != unix.EWOULDBLOCK
}

// syncFolder makes the names in a folder safe, where the file system can.
func syncFolder(name string) error {
	folder, err := os.Open(name)
	if err != nil {
		return err
	}
	defer folder.Close()
	err = folder.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
