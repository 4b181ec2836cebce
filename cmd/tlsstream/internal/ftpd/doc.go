// Package ftpd is an FTPS server for uploads, on ftpserverlib, with our layer below
// the TLS of the control and the data connections.
//
// # The promise
//
// A file appears under its name only when its upload has ended properly. Until then
// it is NAME.partial; at the end it is written to the disk, renamed, and the
// client is told so. An upload that ends in any other way stays NAME.partial, and
// the client gets a 550 that says why. That holds if client, server or network die
// at any moment, for a rename is all or nothing.
//
// # What an end is
//
// FTP has no length: the end of the data connection is the end of the file. In TLS
// that is close_notify, which only who knows the keys can send. A bare FIN is what a
// client leaves that died, or a stranger in between.
//
// crypto/tls reports io.EOF for both, if FIN falls between two records. But it
// reads from its transport only as long as close_notify has not come. So the
// transport below it here reports its own end as an error that is not io.EOF, and
// nothing above can mistake it (see dataConn).
//
// A client that gives up and sends close_notify all the same, as curl does at
// --max-time, cannot be told from one that is done by that. But it also closes its
// control connection, and does not wait for the reply: a client that does so within
// 50 ms has uploaded nothing.
//
// # Which clients send close_notify
//
// Measured on Debian 12 against this server, with --allow-truncated, from the log:
//
//	client                                      at the end     when killed, or interrupted
//	curl 7.88.1 (OpenSSL)                       close_notify   bare FIN; --max-time: close_notify
//	lftp 4.9.2 (GnuTLS)                         close_notify   bare FIN
//	Python 3.11 ftplib, storbinary              close_notify   bare FIN
//	the same, transfercmd and close, no unwrap  bare FIN       bare FIN
//	PHP 8.2 ftp_put                             close_notify
//	Perl 5.36 Net::FTP 3.14                     close_notify
//	Apache Commons Net 3.9.0 FTPSClient         close_notify
//	basic-ftp 6.2.3 (Node.js 20)                close_notify
//	gFTP 2.9.1, text                            close_notify
//	ftp-ssl 0.17 (netkit)                       bare FIN
//
// tnftp speaks TLS for https only. wput 0.6.2 gives up at the ticket of any TLS 1.3
// server; without tickets it ends in a bare FIN. Clients with a bare FIN need
// Config.AllowTruncated.
//
// # Data connections
//
// They are passive. In active mode the library dials and calls tls.Server with no
// hook between, so PORT and EPRT are answered 421.
//
// Each ticket of a control connection and of its data connections carries a mark, so
// Config.RequireReuse can demand not only some session of this server but one of
// the same client. OpenSSL uses a TLS 1.3 ticket once, so the control connection
// repeats it with the reply to each transfer that used it (see repeater). lftp, curl,
// PHP and basic-ftp upload any number of files so; ftplib, Net::FTP, Commons Net and
// clients told not to reuse sessions are refused, with the reason.
//
// # The library's server
//
// Each control connection has a server of the library for itself, because the
// library's hook for data connections does not tell whose they are. The library
// listens for them on all addresses; those of other hosts than the control
// connection's are closed.
package ftpd

// Closers and Truncaters are the clients that end an upload with close_notify, and
// those that do not.
const (
	Closers    = "curl, lftp, ftplib, PHP, Perl's Net::FTP, Commons Net, basic-ftp, gFTP"
	Truncaters = "ftp-ssl, wput, and programs that close ftplib's socket without unwrap"
)
