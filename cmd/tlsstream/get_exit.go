package main

import (
	"fmt"
	"strings"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
)

// A getExit is what the program ends with for a kind of failure.
type getExit struct {
	kind    get.Kind
	status  int
	meaning string
}

var getExits = []getExit{
	{get.Complete, 0, "the file is whole and has its name"},
	{get.Local, exitError, "wrong usage, or a file that cannot be written"},
	{get.Unreachable, 2, "no connection to the server"},
	{get.Handshake, 3, "no TLS there, or a certificate that is not trusted"},
	{get.Status, 4, "the server answered with an error status, such as 404"},
	{get.Truncated, 5, "the stream was cut, or ended too early"},
	{get.Alert, 6, "the server gave up half-way and said so by a fatal alert"},
	{get.Lost, 7, "the connection was reset, or damaged on the way"},
	{get.TimedOut, 8, "the server was silent for too long, or --max-time was over"},
	{get.Signature, 9, "no pair of file and signature that match"},
	{get.Redirect, 10, "a redirect to http, or too many redirects"},
	{get.Protocol, 11, "the server does not speak HTTP, or sent what was not asked for, or too much"},
	{get.Interrupted, exitInterrupted, "interrupted"},
}

func getExitOf(kind get.Kind) int {
	for _, e := range getExits {
		if e.kind == kind {
			return e.status
		}
	}
	return exitError
}

// getExitHelp describes the exit statuses.
func getExitHelp() string {
	var help strings.Builder
	for _, e := range getExits {
		fmt.Fprintf(&help, "  %3d  %-12s %s\n", e.status, e.kind, e.meaning)
	}
	return help.String()
}
