package ftpd

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/afero"
)

// A rootDisk is a folder that symbolic links do not lead out of. Users whose root is
// also their home, or who share it with others, can make links there, and the server
// may have rights that they have not.
type rootDisk struct {
	root *os.Root
	err  error // why there is no root
}

var _ afero.Lstater = (*rootDisk)(nil)

func newRootDisk(folder string) afero.Fs {
	root, err := os.OpenRoot(folder)
	return &rootDisk{root, err}
}

// Close ends the use of the folder. It may be called more than once.
func (d *rootDisk) Close() error {
	if d.err != nil {
		return nil
	}
	return d.root.Close()
}

// at makes of a path that begins at the root one below it.
func (d *rootDisk) at(op, name string) (string, error) {
	if d.err != nil {
		return "", &os.PathError{Op: op, Path: name, Err: d.err}
	}
	name = strings.TrimLeft(filepath.ToSlash(name), "/")
	if name == "" {
		name = "."
	}
	return filepath.FromSlash(name), nil
}

func (d *rootDisk) OpenFile(name string, flag int, mode os.FileMode) (afero.File, error) {
	name, err := d.at("open", name)
	if err != nil {
		return nil, err
	}
	file, err := d.root.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err // and not a *os.File that is nil
	}
	return file, nil
}

func (d *rootDisk) Open(name string) (afero.File, error) { return d.OpenFile(name, os.O_RDONLY, 0) }

func (d *rootDisk) Create(name string) (afero.File, error) {
	return d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePermissions)
}

func (d *rootDisk) Stat(name string) (os.FileInfo, error) {
	name, err := d.at("stat", name)
	if err != nil {
		return nil, err
	}
	return d.root.Stat(name)
}

// LstatIfPossible keeps afero.Walk from following links.
func (d *rootDisk) LstatIfPossible(name string) (os.FileInfo, bool, error) {
	name, err := d.at("lstat", name)
	if err != nil {
		return nil, true, err
	}
	info, err := d.root.Lstat(name)
	return info, true, err
}

// change calls f with the path that a name stands for.
func (d *rootDisk) change(op, name string, f func(name string) error) error {
	name, err := d.at(op, name)
	if err != nil {
		return err
	}
	if name == "." {
		return &os.PathError{Op: op, Path: "/", Err: os.ErrPermission}
	}
	return f(name)
}

func (d *rootDisk) Rename(from, to string) error {
	return d.change("rename", from, func(from string) error {
		return d.change("rename", to, func(to string) error { return d.root.Rename(from, to) })
	})
}

func (d *rootDisk) Remove(name string) error {
	return d.change("remove", name, func(name string) error { return d.root.Remove(name) })
}

func (d *rootDisk) RemoveAll(name string) error {
	return d.change("remove", name, func(name string) error { return d.root.RemoveAll(name) })
}

func (d *rootDisk) Mkdir(name string, mode os.FileMode) error {
	return d.change("mkdir", name, func(name string) error { return d.root.Mkdir(name, mode.Perm()) })
}

func (d *rootDisk) MkdirAll(name string, mode os.FileMode) error {
	return d.change("mkdir", name, func(name string) error { return d.root.MkdirAll(name, mode.Perm()) })
}

func (d *rootDisk) Chmod(name string, mode os.FileMode) error {
	return d.change("chmod", name, func(name string) error { return d.root.Chmod(name, mode) })
}

func (d *rootDisk) Chown(name string, uid, gid int) error {
	return d.change("chown", name, func(name string) error { return d.root.Chown(name, uid, gid) })
}

func (d *rootDisk) Chtimes(name string, access, modified time.Time) error {
	return d.change("chtimes", name, func(name string) error { return d.root.Chtimes(name, access, modified) })
}

func (d *rootDisk) Name() string { return "folder" }
