//go:build unix

package main

import (
	"os"
	"syscall"
)

// restartSignals ask for a restart. Not SIGHUP, which a terminal that closes sends, too.
var restartSignals = []os.Signal{syscall.SIGUSR2}
