package probe

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A truth is what is known of a server, as the probe has to find it.
type truth struct {
	Software            string
	Tickets, Unasked    int
	When                Moment
	KeyUpdate           Answer
	Resumes             Resumption
	Uploads, Logs, HTTP Safety
}

func (want truth) of(software string) truth {
	want.Software = software
	return want
}

func (want truth) with(answer Answer) truth {
	want.KeyUpdate = answer
	return want
}

func (want truth) noHTTP() truth {
	want.HTTP = NotApplicable
	return want
}

func (want truth) check(t *testing.T, r *Report) {
	t.Helper()
	got := truth{r.Software, r.Tickets.Count, r.Tickets.UnaskedCount, r.Tickets.When, r.KeyUpdate.Answer, r.Resumption.Resumes,
		r.Verdicts[0].Verdict, r.Verdicts[1].Verdict, r.Verdicts[2].Verdict}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if unsafe := r.Safety() == Unsafe; unsafe != (len(r.Remedies) > 0) {
		t.Errorf("safety %v, and remedies %q", r.Safety(), r.Remedies)
	}
	if len(r.Remedies) > 0 && r.KeyUpdate.Answer == Deferred && !strings.HasPrefix(r.Remedies[0], r.Software) {
		t.Errorf("remedies %q for %s", r.Remedies, r.Software)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(text.String()) {
		if len(strings.TrimRight(line, "\n")) > pageWidth {
			t.Errorf("a line of %d columns: %s", len(line)-1, line)
		}
	}
}

func serveHTTP(t *testing.T, l net.Listener) string {
	t.Helper()
	server := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }),
		ErrorLog: log.New(io.Discard, "", 0), // of connections that the probe ended
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// What the server does depends on the server, not on who asks.
func TestGoServers(t *testing.T) {
	stock := func(t *testing.T, c *tls.Config) string { return serveHTTP(t, tls.NewListener(listen(t), c)) }
	ours := func(t *testing.T, c *tls.Config) string { return serveHTTP(t, tlsstream.NewListener(listen(t), c)) }
	eager := truth{Tickets: 1, Unasked: 1, When: FirstFlight, KeyUpdate: AtOnce, Resumes: ResumptionYes, Uploads: Unsafe, Logs: Unsafe, HTTP: Safe}
	late := eager
	late.When = AfterFinished
	off := truth{When: Never, KeyUpdate: AtOnce, Resumes: ResumptionNoTickets, Uploads: Unsafe, Logs: Unsafe, HTTP: Safe}
	deferred := truth{Tickets: 1, When: AfterBytes, KeyUpdate: Deferred, Resumes: ResumptionYes, Uploads: Safe, Logs: Safe, HTTP: Safe}
	for _, test := range []struct {
		name   string
		serve  func(*testing.T, *tls.Config) string
		config func(*tls.Config)
		want   truth
	}{
		{"stock", stock, func(*tls.Config) {}, eager},
		{"stock, client certificate", stock, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }, late},
		{"stock, tickets off", stock, func(c *tls.Config) { c.SessionTicketsDisabled = true }, off},
		{"stock, slow to verify", stock, func(c *tls.Config) {
			c.ClientAuth = tls.RequestClientCert
			c.VerifyConnection = func(tls.ConnectionState) error {
				time.Sleep(testWait / 3) // the ticket comes late: after Finished, and after this
				return nil
			}
		}, late},
		{"ours", ours, func(*tls.Config) {}, deferred},
		{"ours, client certificate", ours, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }, deferred},
	} {
		fingerprints := []string{"go"}
		if test.name == "stock" || test.name == "ours" {
			fingerprints = Fingerprints()
		}
		for _, fingerprint := range fingerprints {
			t.Run(test.name+"/"+fingerprint, func(t *testing.T) {
				t.Parallel()
				config := testCA.ServerConfig()
				test.config(config)
				r := probe(t, Options{Address: test.serve(t, config), Fingerprint: fingerprint})
				test.want.check(t, r)
				if r.End != (EndReport{Ending: EndCloseNotify, After: AfterBytes}) {
					t.Errorf("end of stream %+v", r.End)
				}
			})
		}
	}
}
