//go:build unix

package get

import (
	"os"

	"golang.org/x/sys/unix"
)

// renamesOpen tells whether a file that is open can be renamed, so that the lock on it lasts until it has its name.
const renamesOpen = true

// tryLock locks the open file, against other processes too, until it is closed. It is an error if somebody else has it.
func tryLock(file *os.File) error { return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// syncFolder makes the names in a folder safe.
func syncFolder(name string) error {
	folder, err := os.Open(name)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
