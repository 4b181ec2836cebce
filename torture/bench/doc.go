// Package bench measures TLS stacks against stock crypto/tls.
//
// Two runs of the same program on the same machine easily differ by a quarter: clocks change, neighbours come and go. So
// nothing here is a quotient of two runs. A measurement keeps a connection of each stack open, between the same two
// processes, and plays slices of about 30 ms on them in turn, so that each slice of a variant lies between two of stock
// crypto/tls. The ratio of a round is the variant's rate to the mean of those two. Twenty-five rounds make five blocks of
// five; the figure is the median of the blocks' medians, with the least and the greatest beside it. Stock crypto/tls
// over connections of its own is measured as a variant, too: this control says how far a ratio may be from 1 for no
// reason.
//
// A slice is an amount, found once so that it takes about as long as wanted. Its time is the client's: from its first
// write until the answer to its last. The processor time of a slice is what getrusage tells each process of its own.
// On Linux client and server run on halves of the cores, so that it is not the scheduler's choice of cores that is
// measured.
//
// Handshakes are slices, too, each of which makes connections of its own; their allocations are counted at both ends. The
// memory of idle connections is that of live objects and goroutines' stacks, before they were made and with all of them
// there, in processes that have no others. A [Terminator] stands between a client and a plain sink, and is compared with
// [StockProxy].
//
// [Run] plays a [Plan] and returns a [Report]; the command tlsstream bench prints it. The endpoints are started from the
// same program, whose main, or TestMain, calls [Endpoint].
package bench
