package main

import (
	"fmt"
	"strings"

	"github.com/deferredtls/deferredtls/torture"
)

// A verdictExit is what the program ends with if a stack under test shows a class, and nothing graver.
type verdictExit struct {
	class   torture.Class
	status  int
	meaning string
}

// verdictExits has all classes that count against a stack, the gravest first. 3 and 4 are older than the others.
var verdictExits = []verdictExit{
	{torture.Corrupted, 5, "a stack under test delivered bytes that were not sent"},
	{torture.Reordered, 6, "it delivered bytes out of their order"},
	{torture.SilentLoss, 2, "it lost data, and a side was told that all went well"},
	{torture.Lost, 7, "it lost data, and said so"},
	{torture.Deadlock, 3, "it blocked for ever"},
	{torture.HungClose, 8, "its Close did not return"},
	{torture.WrongError, 9, "it reported a failure where all had arrived, or none where one was due"},
	{torture.LeakedGoroutine, 10, "it left goroutines behind"},
	{torture.Slow, 11, "it was slower than the network's floor"},
}

const exitBlind = 4

// exitOf returns the exit status for the status of a report.
func exitOf(status torture.Status) int {
	switch status {
	case torture.Clean:
		return 0
	case torture.BlindControl:
		return exitBlind
	}
	for _, e := range verdictExits {
		if torture.StatusOf(e.class) == status {
			return e.status
		}
	}
	return exitError
}

// exitHelp describes the exit statuses that verdicts have, and those that all commands have.
func exitHelp() string {
	var help strings.Builder
	for _, e := range verdictExits {
		fmt.Fprintf(&help, "  %3d  %s\n", e.status, e.meaning)
	}
	fmt.Fprintf(&help, "  %3d  a control that must fail did not\n", exitBlind)
	fmt.Fprintf(&help, "  %3d  wrong usage, or an internal error\n", exitError)
	fmt.Fprintf(&help, "  %3d  interrupted\n", exitInterrupted)
	fmt.Fprintf(&help, "    0  none of these\n")
	return help.String()
}
