package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// streamWriter writes events to a server's stream that are not in its outbox, but continue the
// chains of their studies.
type streamWriter struct {
	t     *testing.T
	p     *server.Server
	nc    *nats.Conn
	heads map[string]events.ChainHead // by study key
}

func newStreamWriter(t *testing.T, p *server.Server) *streamWriter {
	t.Helper()
	nc, err := p.Connect(natsd.Publisher)
	if err != nil {
		t.Fatal(err)
	}
	return &streamWriter{t: t, p: p, nc: nc, heads: make(map[string]events.ChainHead)}
}

// write appends an event of the kind to the stream. Body returns the body for the event's
// number and time.
func (f *streamWriter) write(study string, kind events.Kind, subject string, body func(number uint64, at time.Time) []byte) {
	f.t.Helper()
	key := events.StudyKey(study)
	head, ok := f.heads[key]
	if !ok {
		var err error
		if head, err = f.p.Outbox.ChainHead(f.t.Context(), study); err != nil {
			f.t.Fatal(err)
		}
	}
	if kind == events.ReportSigned {
		subject = events.ReportSubject(subject, head.Number+1)
	}
	ns, at := events.DefaultNamespace, time.Now().UTC().Truncate(time.Microsecond)
	e := events.Event{
		ID: uuid.Must(uuid.NewV7()).String(), Source: ns.Source(key), Type: ns.Type(kind), Subject: subject, Time: at,
		DataContentType: kind.MediaType(), Study: key, PartitionKey: key + "/1", Data: body(head.Number+1, at),
	}
	if events.InternalStudy(study) {
		e.PartitionKey = key
	}
	e.Seal(head)
	if err := e.Validate(); err != nil {
		f.t.Fatal(err)
	}
	f.heads[key] = e.ChainHead()
	answer, err := f.nc.RequestMsg(&nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: nats.Header(e.Header()), Data: e.Data}, time.Minute)
	if err != nil || bytes.Contains(answer.Data, []byte("error")) {
		f.t.Fatalf("%v %s", err, answer.Data)
	}
}

// writeAccess appends an access event whose body is the state of a partner or a key.
func (f *streamWriter) writeAccess(kind events.Kind, subject string, state any) {
	f.t.Helper()
	body, err := json.Marshal(state)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(events.AccessStudy, kind, subject, func(uint64, time.Time) []byte { return body })
}

// awaitApplied waits until the read model has applied what was written.
func (f *streamWriter) awaitApplied() {
	f.t.Helper()
	eventually(f.t, "the read model to apply what was forged", func() error {
		for key, want := range f.heads {
			if got, err := f.p.Model.ChainHead(f.t.Context(), key); err != nil || got != want {
				return errors.Join(err, fmt.Errorf("%s: %v, want %v: %s", key, got, want, f.p.Model.Status().Reason))
			}
		}
		return nil
	})
}

func TestNobodyIsShownWhatWasNotSigned(t *testing.T) {
	dir := t.TempDir()
	addKillPI(t, dir)
	p, stop := startServer(t, dir)
	i := &installation{t: t, dir: dir, study: killStudy(0)}
	acme, secret := newPartnerWithSecret(t, p, "acme", killStudy(0), killStudy(2))
	if err := i.sign(p.Outbox, 1); err != nil {
		t.Fatal(err)
	}
	awaitCaughtUp(t, p)
	signed, err := p.Outbox.Source().Recorded(t.Context(), 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	// reportBody returns the signed report as that of another assessment.
	reportBody := func(id string) func(uint64, time.Time) []byte {
		for _, e := range signed {
			if name, n, ok := e.Event.ReportID(); ok && e.Event.Kind() == events.ReportSigned {
				return func(number uint64, at time.Time) []byte {
					data := bytes.ReplaceAll(e.Event.Data, []byte(events.FormatTime(e.Event.Time)), []byte(events.FormatTime(at)))
					data = bytes.ReplaceAll(data, fmt.Appendf(nil, `"id":"%s"`, name), fmt.Appendf(nil, `"id":"%s"`, id))
					return bytes.ReplaceAll(data, fmt.Appendf(nil, `"versionId":"%d"`, n), fmt.Appendf(nil, `"versionId":"%d"`, number))
				}
			}
		}
		t.Fatal("no report was signed")
		return nil
	}
	var open *nats.Conn
	eventually(t, "a login", func() (err error) {
		open, err = nats.Connect(p.NATS.ClientURL(), nats.UserInfo("acme", secret), nats.NoReconnect())
		return err
	})
	defer open.Close()
	closed := open.StatusChanged(nats.CLOSED)

	private, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := access.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	forged := newStreamWriter(t, p)
	key := signer.Key(time.Now())
	forged.writeAccess(events.AccessKey, key.EventSubject(), key)
	intruder := access.Partner{ID: "intruder", Studies: []string{killStudy(0), killStudy(2)}, Secrets: []access.Secret{{SHA256: access.DigestSecret("known")}}, Enabled: true}
	forged.writeAccess(events.AccessPartner, intruder.EventSubject(), intruder)
	more, _ := p.Model.Directory().Partner("acme")
	more.Studies = []string{killStudy(0), killStudy(1), killStudy(2)}
	more.Secrets = append(more.Secrets, access.Secret{SHA256: access.DigestSecret("known")})
	forged.writeAccess(events.AccessPartner, more.EventSubject(), more)
	forged.write(killStudy(0), events.ReportSigned, "forged-1", reportBody("forged-1"))
	forged.awaitApplied()

	issued := func(partner, secret string) string {
		text, err := signer.Issue(uuid.NewString(), p.PublicURL()+token.Path, partner, secret, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	check := func(t *testing.T) {
		t.Helper()
		for name, c := range map[string]struct {
			id, token, study string
			want             int
		}{
			"the study of a forged report":                       {"acme", acme.token, killStudy(0), http.StatusServiceUnavailable},
			"a study in which nothing was forged":                {"acme", acme.token, killStudy(2), http.StatusOK},
			"a study by a forged grant":                          {"acme", acme.token, killStudy(1), http.StatusForbidden},
			"a study by a forged partner":                        {"intruder", issued("intruder", "known"), killStudy(2), http.StatusUnauthorized},
			"a study by a forged secret":                         {"acme", issued("acme", "known"), killStudy(2), http.StatusUnauthorized},
			"a study by a forged key and a secret that is right": {"acme", issued("acme", secret), killStudy(2), http.StatusUnauthorized},
		} {
			if res := ask(t, p, c.id, c.token, c.study); res.StatusCode != c.want || (c.want == http.StatusServiceUnavailable) != (res.Header.Get("Retry-After") != "") {
				t.Errorf("%s: %d, want %d; Retry-After %q", name, res.StatusCode, c.want, res.Header.Get("Retry-After"))
			}
		}
		for _, path := range []string{
			"/DiagnosticReport/forged-1", "/DiagnosticReport/forged-1/_history/3", "/DiagnosticReport/restored-1", "/DiagnosticReport/forged-1/_history",
			"/DiagnosticReport/_history?researchstudy=" + killStudy(0), "/Observation?researchstudy=" + killStudy(0),
		} {
			if status, body := acme.get(path); status != http.StatusServiceUnavailable {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
		if res := askToken(t, p, "intruder", "known"); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("an access token for a forged partner: %d", res.StatusCode)
		}
		if nc, err := nats.Connect(p.NATS.ClientURL(), nats.UserInfo("intruder", "known"), nats.NoReconnect(), nats.Timeout(time.Minute)); err == nil {
			nc.Close()
			t.Error("a forged partner gets in")
		}
	}
	t.Run("before the publisher has compared", check)

	// A commit has the publisher compare.
	if err := p.Outbox.Accounts().RevokePartner(t.Context(), "test", "acme", killStudy(2)); err != nil {
		t.Fatal(err)
	}
	if err := p.Outbox.Accounts().GrantPartner(t.Context(), "test", "acme", killStudy(2)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the publisher to stop", func() error {
		if s := p.Relay.Status(); s.State != publisher.Stopped {
			return fmt.Errorf("%s %s", s.State, s.Reason)
		}
		return nil
	})
	t.Run("after the publisher has stopped", check)
	t.Run("the connections of partners are closed and logins are left unanswered", func(t *testing.T) {
		select {
		case <-closed:
		case <-time.After(patience):
			t.Error("a connection stays open")
		}
		i.wantUnanswered(p.NATS.ClientURL(), "acme", secret)
		if _, findings := readiness(t, p); !strings.Contains(findings["stream"], "not in the outbox") {
			t.Errorf("%v", findings)
		}
	})
	t.Run("a revocation is carried out nevertheless", func(t *testing.T) {
		r := mustSignoff(t, "partner", "revoke", "acme", killStudy(2), "--data", dir)
		if res := ask(t, p, "acme", acme.token, killStudy(2)); res.StatusCode != http.StatusForbidden {
			t.Errorf("%d; %s", res.StatusCode, r.err)
		}
	})
	t.Run("a grant is not in effect because another event has its number", func(t *testing.T) {
		waitFor(t, 200*time.Millisecond)
		if r := mustSignoff(t, "partner", "grant", "acme", killStudy(3), "--data", dir); !strings.Contains(r.err, "not in effect yet") {
			t.Error(r.err)
		}
	})
	stop()
	t.Run("and after another start", func(t *testing.T) {
		p, stop = startContradicted(t, dir)
		acme.p = p
		eventually(t, "it to open", p.Admission.Closed)
		if res := ask(t, p, "acme", acme.token, killStudy(0)); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%d", res.StatusCode)
		}
	})
	stop()
	t.Run("until stream and read model are made anew from the outbox", func(t *testing.T) {
		i.lose("jetstream", "readmodel.db*")
		p, _ = startServer(t, dir)
		acme.p = p
		if status, body := acme.get("/DiagnosticReport?researchstudy=" + killStudy(0)); status != http.StatusOK || !bytes.Contains(body, []byte(`"total":1`)) {
			t.Errorf("%d %s", status, body)
		}
		if status, _ := acme.get("/DiagnosticReport/forged-1"); status != http.StatusNotFound {
			t.Errorf("the forged report: %d", status)
		}
		eventually(t, "a login", func() error {
			nc, err := nats.Connect(p.NATS.ClientURL(), nats.UserInfo("acme", secret), nats.NoReconnect())
			if err == nil {
				nc.Close()
			}
			return err
		})
	})
}

// startContradicted is startServer for a server that does not become ready.
func startContradicted(t *testing.T, dir string) (*server.Server, func()) {
	t.Helper()
	p := startPaused(t, dir, loopback(), -1)
	eventually(t, "the publisher to stop", func() error {
		if s := p.Relay.Status(); s.State != publisher.Stopped {
			return errors.New(s.Reason)
		}
		return nil
	})
	return p.Server, p.stop
}
