package probe

import "testing"

// The servers that apt offers, each as its documentation says, and no more than it needs.

func openssl(args ...string) program {
	return program{name: "openssl", args: append([]string{"s_server", "-accept", "127.0.0.1:%PORT%", "-cert", "%CERT%", "-key", "%KEY%"}, args...)}
}

func gnutlsServ(args ...string) program {
	return program{name: "gnutls-serv", args: append([]string{"--port", "%PORT%", "--x509certfile", "%CERT%", "--x509keyfile", "%KEY%"}, args...)}
}

func nginx(line string) program {
	return program{name: "nginx", args: []string{"-p", "%DIR%", "-c", "%DIR%/config", "-e", "stderr"}, config: `
daemon off;
master_process off;
pid %DIR%/nginx.pid;
error_log stderr notice;
events {}
http {
	access_log off;
	client_body_temp_path %DIR%;
	proxy_temp_path %DIR%;
	fastcgi_temp_path %DIR%;
	uwsgi_temp_path %DIR%;
	scgi_temp_path %DIR%;
	server {
		listen 127.0.0.1:%PORT% ssl;
		ssl_protocols TLSv1.3;
		ssl_certificate %CERT%;
		ssl_certificate_key %KEY%;
		` + line + `
		return 200 "hello";
	}
}
`}
}

func haproxy(option string) program {
	return program{name: "haproxy", args: []string{"-db", "-f", "%DIR%/config"}, config: `
defaults
	mode http
	timeout client 30s
	timeout server 30s
	timeout connect 5s
frontend probed
	bind 127.0.0.1:%PORT% ssl crt %PEM% ` + option + `
	http-request return status 200 content-type text/plain string hello
`}
}

func stunnel(line string) program {
	return program{name: "stunnel4", args: []string{"%DIR%/config"}, config: `
foreground = yes
pid =
[echo]
accept = 127.0.0.1:%PORT%
exec = /bin/cat
execArgs = cat
cert = %CERT%
key = %KEY%
` + line + "\n"}
}

func proftpd(line string) program {
	return program{name: "proftpd", module: "/usr/lib/proftpd/mod_tls.so", args: []string{"--nodaemon", "--quiet", "--config", "%DIR%/config"}, config: `
ServerName probed
ServerType standalone
DefaultAddress 127.0.0.1
Port %PORT%
SocketBindTight on
UseIPv6 off
ModulePath /usr/lib/proftpd
LoadModule mod_tls.c
PidFile %DIR%/pid
ScoreboardFile %DIR%/scoreboard
SystemLog %DIR%/log
DelayEngine off
WtmpLog off
User nobody
Group nogroup
TLSEngine on
TLSLog %DIR%/tls.log
TLSProtocol TLSv1.3
TLSECCertificateFile %CERT%
TLSECCertificateKeyFile %KEY%
` + line + "\n"}
}

func vsftpd() program {
	return program{name: "vsftpd", args: []string{"%DIR%/config"}, config: `listen=YES
listen_address=127.0.0.1
listen_port=%PORT%
background=NO
anonymous_enable=YES
ssl_enable=YES
allow_anon_ssl=YES
ssl_tlsv1=YES
ssl_ciphers=HIGH
rsa_cert_file=%CERT%
rsa_private_key_file=%KEY%
secure_chroot_dir=%DIR%
seccomp_sandbox=NO
`}
}

// noTickets is the remedy for servers on OpenSSL that have no option of their own.
func noTickets(p program) program {
	p.env = append(p.env, "OPENSSL_CONF=%DIR%/openssl.cnf")
	p.openssl = `openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
NumTickets = 0
`
	return p
}

// atOnce is what most servers on OpenSSL and GnuTLS do: two tickets right after the handshake.
var atOnce = truth{Tickets: 2, Unasked: 2, When: AfterFinished, KeyUpdate: Deferred, Resumes: ResumptionYes,
	Uploads: Unsafe, Logs: Unsafe, HTTP: Safe}

// none is the same without tickets.
var none = truth{When: Never, KeyUpdate: Deferred, Resumes: ResumptionNoTickets, Uploads: Safe, Logs: Safe, HTTP: Safe}

func TestRealServers(t *testing.T) {
	for _, test := range []struct {
		name     string
		server   program
		startTLS string
		want     truth
		end      Ending
	}{
		{"openssl", openssl("-rev"), "", atOnce, EndCloseNotify},
		{"openssl -num_tickets 0", openssl("-rev", "-num_tickets", "0"), "", none, EndCloseNotify},
		{"openssl that writes nothing", openssl("-quiet", "-num_tickets", "0"), "", none.with(Unanswered), EndCloseNotify},
		{"gnutls-serv", gnutlsServ(), "", atOnce.of("gnutls-serv"), EndCloseNotify},
		{"gnutls-serv --noticket", gnutlsServ("--noticket"), "", none.of("gnutls-serv"), EndCloseNotify},
		{"nginx", nginx(""), "", atOnce.of("nginx"), EndCloseNotify},
		{"nginx NumTickets 0", nginx("ssl_conf_command NumTickets 0;"), "", none.of("nginx"), EndCloseNotify},
		{"haproxy", haproxy(""), "", atOnce, EndCloseNotify},
		{"haproxy with openssl.cnf", noTickets(haproxy("")), "", none, EndCloseNotify},
		{"stunnel", stunnel(""), "", atOnce, EndCloseNotify},
		{"stunnel NumTickets:0", stunnel("config = NumTickets:0"), "", none, EndCloseNotify},
		{"proftpd", proftpd(""), "ftp", atOnce.of("ProFTPD").noHTTP(), EndCloseNotify},
		{"proftpd with openssl.cnf", noTickets(proftpd("")), "ftp", none.of("ProFTPD").noHTTP(), EndCloseNotify},
		{"vsftpd", vsftpd(), "ftp", atOnce.of("vsFTPd").noHTTP(), EndFIN},
		{"vsftpd with openssl.cnf", noTickets(vsftpd()), "ftp", none.of("vsFTPd").noHTTP(), EndFIN},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := probe(t, Options{Address: test.server.start(t), StartTLS: test.startTLS})
			test.want.check(t, r)
			if r.End.Ending != test.end {
				t.Errorf("end of stream %q, want %q", r.End.Ending, test.end)
			}
		})
	}
}

// What people take for the switch makes tickets smaller, and no client safe. The remedies say so.
func TestTicketsOffIsNotOff(t *testing.T) {
	stateful := atOnce
	stateful.Resumes = ResumptionNo
	for _, test := range []struct {
		name     string
		server   program
		startTLS string
		want     truth
	}{
		{"nginx ssl_session_tickets off", nginx("ssl_session_tickets off;"), "", stateful.of("nginx")},
		{"haproxy no-tls-tickets", haproxy("no-tls-tickets"), "", atOnce},
		{"stunnel NO_TICKET", stunnel("options = NO_TICKET"), "", atOnce},
		{"proftpd TLSSessionTickets off", proftpd("TLSSessionTickets off"), "ftp", atOnce.of("ProFTPD").noHTTP()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.want.check(t, probe(t, Options{Address: test.server.start(t), StartTLS: test.startTLS}))
		})
	}
}
