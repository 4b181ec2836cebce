package get

import (
	"errors"
	"fmt"
	"os"
)

// The names that a download uses beside its target can be guessed. In a folder where others may write, such as /tmp, they
// may have put links there, through which a file of ours would be overwritten, or files of theirs, which they could
// change when all has been verified. So a file is made anew, or it is of this user and has no other name.

const newFile = os.O_RDWR | os.O_CREATE | os.O_EXCL

// openOwn opens a file of this user, or makes it. Its errors are *Error.
func openOwn(name string) (*os.File, error) {
	file, err := os.OpenFile(name, newFile, 0o666)
	if err == nil {
		return file, nil
	}
	if !errors.Is(err, os.ErrExist) {
		return nil, local(err)
	}
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, notOurs(name, "is not a file")
	}
	file, err = openNoLink(name)
	if errors.Is(err, os.ErrNotExist) {
		return openOwn(name) // it had its last moment
	}
	if err != nil {
		return nil, local(err)
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		err = local(err)
	case !info.Mode().IsRegular():
		err = notOurs(name, "is not a file")
	case !isOwn(info):
		err = notOurs(name, "is another user's file, or has another name")
	default:
		return file, nil
	}
	file.Close()
	return nil, err
}

func notOurs(name, what string) *Error {
	return &Error{Local, fmt.Sprintf("%s %s", name, what), "remove it, or choose another name with --output", nil}
}

// createNew makes a file in place of what has its name.
func createNew(name string) (*os.File, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(name, newFile, 0o666)
}
