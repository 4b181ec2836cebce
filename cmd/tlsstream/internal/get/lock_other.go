//go:build !unix

package get

import "os"

// Systems that rename no open file could not keep the lock until the end: here two downloads into one name are the
// user's to avoid.
const renamesOpen = false

func tryLock(*os.File) bool { return true }

// syncFolder does nothing: folders cannot be synced here.
func syncFolder(string) error { return nil }
