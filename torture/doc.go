// Package torture finds data loss and deadlocks in TLS stacks, as nettest.TestConn finds faults in a net.Conn.
//
// It looks for one family of faults. A TLS 1.3 stack may write when no application asked it to: a server sends session
// tickets as soon as the handshake is done, and either side answers the peer's KeyUpdate requests (RFC 8446 4.6.1 and
// 4.6.3). A peer that only writes never reads those records. When it closes, its kernel finds unread input, sends RST
// in place of FIN and throws away what it had still queued: the upload is cut short, and the client has been told that
// all went well. And when the records do not fit into the socket buffers while the peer is busy writing, both sides
// wait for each other for ever. Where plain TCP would neither lose nor block, TLS should not either.
//
// To put a stack under test, describe it as a [Stack] and call [TestStack]:
//
//	func TestTorture(t *testing.T) {
//		torture.TestStack(t, torture.Stack{
//			Name:   "mytls",
//			Server: func(conn net.Conn, config *tls.Config) torture.Conn { return mytls.Server(conn, config) },
//			Client: func(conn net.Conn, config *tls.Config) torture.Conn { return mytls.Client(conn, config) },
//		})
//	}
//
// A [Scenario] is a pair of small scripts, one for each side; a [Network] is a transport: kernel TCP, or an in-memory
// pipe with TCP's rules; an oracle compares what was written with what arrived and with what each side was told, and
// gives a [Verdict]. [Run] plays a [Plan] of them and returns a [Report]. The command tlsstream torture prints it.
//
// # Controls
//
// A scenario that no stack fails proves nothing. So a plan runs stock crypto/tls beside the stack under test, as its
// control, and a row whose control does not fail where it must is reported as blind. Where crypto/tls is right to pass,
// [On] says so: there a scenario sees to it that the stack under test does no worse, and a test of this package shows it
// a stack that does.
//
// Two things TLS cannot do as TCP does, on any stack: a close_notify is unread data to a peer that never reads, which a
// FIN is not, and a record of which a part came is not delivered. The scenarios that show it end as [Limited].
//
// # Networks
//
// The networks differ in their buffers, in what a reset discards, in how much one call moves, and in faults: a
// transport with faults has a method Heal, and a run in which nothing moves any more is healed, and must go on. What a
// machine does not have is skipped, with the reason.
//
// # Random programs
//
// The scenario random-ops has both sides play a program, such as client=w100,fin,end,close;server=end,w7,close, over TLS
// and over a model of plain TCP. The operations are wN (one Write of N bytes), rN (read N bytes), end (read to the end of
// the stream), fin (CloseWrite), close, wait (until the peer cannot go on by itself), and die and rst, which close or reset
// the transport beneath TLS. All programs with up to two operations and a close on either side come first, then those that
// end otherwise, among random ones.
//
// Where plain TCP ends well, TLS has to end the same: the same bytes delivered, the same sides told of success or of
// the end of the stream. Elsewhere no side may be worse off than in the worst of the models' runs. A program whose outcome
// over plain TCP depends on the schedule, or on a buffer that is smaller by what TLS adds, is undetermined; so is one
// where a stream of records that has an end of its own, without any TLS, ends otherwise than TCP and TLS does too.
//
// # Sensitivity
//
// A default run catches each of the faults that this module's own layer could have. A test builds a layer with one step
// broken, or a stream, and plays the run: these are the mutants, and for each a scenario, a network and the verdict.
// Unbroken, both pass, but for three scenarios that a plain *tls.Conn over a layer does not promise, which the layer is
// not shown: truncated-download, write-deadline and abort-mid-download.
//
//	releases the ticket one record early       upload             pipe-strict silent-loss
//	forgets one KeyUpdate                      key-update-flood   pipe-linux  silent-loss
//	drops held bytes on close                  key-update-flood   pipe-strict wrong-error
//	sends held records behind the next         both-write-first   pipe-strict silent-loss
//	writes what is held in Read                huge-ticket        pipe-strict deadlock
//	makes Read wait for a Write                both-write-first   pipe-strict deadlock
//	grows with a flood                         key-update-flood   pipe-strict wrong-error
//	seals in the wrong epoch after a collapse  key-update-flood   pipe-strict silent-loss
//	sends a KeyUpdate after close_notify       early-response     pipe-strict silent-loss
//	takes a FIN for the end of the stream      truncated-download pipe-strict silent-loss
//	reports truncation where there is none     upload             pipe-strict wrong-error
//	answers Close late                         close-race         pipe-strict hung-close
//
// # Seeds
//
// One seed determines the bytes sent, the segments on pipes and the sizes a sweep tries. Over pipes the same seed gives
// the same verdicts. Over kernel TCP the moment of a reset also depends on the scheduler, so a single run may end
// differently; a row of runs does not.
//
// # Cases
//
// Each trial is a [Case]: scenario, network, stack, size, seed, its place among the trials, and what replaces the
// network's buffers or a random program. Its ID is one word, which a failure prints; [Replay] and the command tlsstream
// torture replay play exactly it, and so does [TestStack] with the environment variable TORTURE_REPLAY. With
// [Plan].Reduce a failing case is made smaller as long as it fails in the same way.
//
// # Other modules, other programs
//
// testdata/foreign is a module of its own that puts two stacks under [TestStack]. One has only switched its tickets
// off, as is often advised: it passes the plain upload, and is caught in upload-key-update and key-update-flood.
//
// A [Program] is a client or server that is a process of its own, such as openssl s_server. Its Scenarios put a stack
// at the other end, over kernel TCP, with nothing in between. Where a program is not installed its rows are skipped:
//
//	mine := torture.Program{Name: "mine", ServerSendsTickets: true,
//		Server: func(p torture.ProgramTrial) ([]string, error) {
//			return []string{"myserver", "-port", strconv.Itoa(p.Port), "-cert", p.CertFile, "-key", p.KeyFile}, nil
//		}}
//	report, err := torture.Run(ctx, torture.Plan{Stacks: []torture.Stack{torture.Tlsstream()}, Scenarios: mine.Scenarios()})
//
// # Stuck and left behind
//
// A run in which nothing moves any more is not yet a deadlock: first the network's faults, if it has any, are taken
// away, and only who then still waits is stuck. Its verdict has the goroutine stacks of both sides, found by the profiler
// labels that a stack's goroutines inherit. The same labels show after a plan which goroutines its trials left behind.
package torture
