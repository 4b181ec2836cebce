// Package integration is tests only: libraries and programs that people use already, over this module's layer, each with
// a runnable example. Where crypto/tls alone fails, the same test shows that too.
//
//   - smtp_test.go: go-smtp with STARTTLS. No ticket in the first flight (golang/go#70232).
//   - ftp_test.go: jlaffaye/ftp uploads to vsftpd.
//   - writefirst_linux_test.go: fasthttp, and a client by hand, that write all of a request before they read.
//   - grpc_test.go: gRPC, server and client.
//   - websocket_test.go: golang.org/x/net/websocket and coder/websocket; browser_test.go: Chromium uploads by wss.
//   - gnet_test.go: an Engine for each connection on gnet's event loops, echo and uploads.
//   - syslog_test.go: a log server and a sender; syslog_linux_test.go: rsyslog by TLS 1.3, drivers gtls and ossl, to a slow sink.
//   - syslog_proxy_linux_test.go: the same through our proxy to a sink of plain TCP; a proxy on crypto/tls is the control.
//   - autocert_test.go: certificates and challenges of autocert through WrapConfig.
//   - utls_test.go: a browser's fingerprint over our layer, HTTP/1.1 and HTTP/2.
//
// What package tlsstream shows in its own tests is not repeated here: net/http, HTTP/1.1 and HTTP/2, in dropin_http_test.go;
// utls uploads in real_upload_test.go.
package integration
