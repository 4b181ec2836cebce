//go:build !unix

package main

import "os"

var restartSignals []os.Signal
