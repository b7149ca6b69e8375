package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// installation is a data directory with partners of one study, some of whose
// access has ended late in the log.
type installation struct {
	t     *testing.T
	dir   string
	study string
	next  int // the last assessment

	acme, revoked, rotated *partnerClient // with access tokens from before access ended
	secrets                map[string]string
	oldSecret              string // of rotated, no longer in force
	withdrawn              string // a report that was withdrawn
}

// newInstallation runs a program until so many assessments are signed, published
// and applied, and then access has ended.
func newInstallation(t *testing.T, assessments int) *installation {
	t.Helper()
	i := &installation{t: t, dir: t.TempDir(), study: killStudy(0), secrets: make(map[string]string)}
	addKillPI(t, i.dir)
	p, stop := startServer(t, i.dir)
	i.acme, i.secrets["acme"] = newPartnerWithSecret(t, p, "acme", i.study)
	i.revoked, i.secrets["revoked"] = newPartnerWithSecret(t, p, "revoked", i.study, killStudy(1))
	i.rotated, i.oldSecret = newPartnerWithSecret(t, p, "rotated", i.study)
	if err := i.sign(p.Outbox, assessments); err != nil {
		t.Fatal(err)
	}
	i.withdrawn = "restored-1"
	if _, err := p.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: "pi", Meaning: "I withdraw this assessment.", Reason: "another subject", ID: i.withdrawn}); err != nil {
		t.Fatal(err)
	}
	mustSignoff(t, "partner", "revoke", "revoked", i.study, "--data", i.dir)
	var c credentials
	if err := json.Unmarshal([]byte(mustSignoff(t, "partner", "rotate", "rotated", "--data", i.dir, "--json").out), &c); err != nil {
		t.Fatal(err)
	}
	i.secrets["rotated"] = c.Secret
	awaitCaughtUp(t, p)
	stop()
	return i
}

// sign registers and signs assessments, two events each.
func (i *installation) sign(o *outbox.Outbox, n int) error {
	for n > 0 {
		var batch []events.Submission
		var ids []string
		for range min(n, 250) {
			i.next++
			a := killAssessment(fmt.Sprint("restored-", i.next), 0, i.next)
			a.Case.ID, a.Subject = int32(i.next), fmt.Sprint("subject-", i.next)
			batch, ids = append(batch, events.Submission{Assessment: a}), append(ids, a.ID)
		}
		n -= len(ids)
		results, err := o.Register(i.t.Context(), "test", batch)
		for _, r := range results {
			if r.Err != nil {
				err = r.Err
			}
		}
		if err == nil {
			_, err = o.SignOff(i.t.Context(), outbox.SignOff{User: "pi", Meaning: meaning, IDs: ids})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lose deletes files of the data directory.
func (i *installation) lose(patterns ...string) {
	i.t.Helper()
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(i.dir, pattern))
		if err != nil {
			i.t.Fatal(err)
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				i.t.Fatal(err)
			}
		}
	}
}

// commit changes the outbox while nothing runs.
func (i *installation) commit(change func(o *outbox.Outbox) error) {
	i.t.Helper()
	o, err := outbox.Open(i.t.Context(), datadir.Dir(i.dir).Outbox(), outbox.Config{})
	if err != nil {
		i.t.Fatal(err)
	}
	if err := errors.Join(change(o), o.Close()); err != nil {
		i.t.Fatal(err)
	}
}

// copyAside copies a database as it is now and returns the path of the copy.
func copyAside(t *testing.T, path string) (copied string) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	copied = filepath.Join(t.TempDir(), filepath.Base(path))
	_, err = db.Reader.Exec("vacuum into ?", copied)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return copied
}

// restoreFile replaces a database that is not in use by a copy.
func restoreFile(t *testing.T, path, copied string) {
	t.Helper()
	content, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + c); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// alter executes a statement on a database that is not in use.
func alter(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *sqlx.Tx) error {
		_, err := tx.Exec(statement)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// pausedServer is a server whose publisher waits before a batch that it publishes again,
// until release is called.
type pausedServer struct {
	*server.Server
	reached <-chan struct{}
	release func()
	ready   <-chan struct{}
	stop    func()
}

// startPaused runs the server. Passes is the number of batches that are published again
// before the publisher waits; if it is negative, the publisher does not wait.
func startPaused(t *testing.T, dir string, s server.Settings, passes int) *pausedServer {
	t.Helper()
	p, err := server.Open(t.Context(), datadir.Dir(dir), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	reached, permit := make(chan struct{}), make(chan struct{})
	pauseRelay(t, p, publisher.StepRefill, passes, func() {
		close(reached)
		<-permit
	})
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.Run(ctx, func(datadir.Serving) { close(ready) }) }()
	r := &pausedServer{Server: p, reached: reached, release: sync.OnceFunc(func() { close(permit) }), ready: ready}
	r.stop = sync.OnceFunc(func() {
		r.release()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// pauseRelay replaces the server's publisher by one that calls fn at a step, after it has
// passed the step that often.
func pauseRelay(t testing.TB, p *server.Server, step string, passes int, fn func()) {
	t.Helper()
	nc, err := p.Connect(natsd.Publisher)
	if err != nil {
		t.Fatal(err)
	}
	p.Relay, err = publisher.New(nc, p.Outbox.Source(), publisher.Config{
		Stream: publisher.StreamConfig{Replicas: p.Settings.NATSReplicas}, Log: slog.New(slog.DiscardHandler), MaxBackoff: 100 * time.Millisecond,
		Step: func(name string) {
			if name != step {
				return
			}
			if passes--; passes == -1 {
				fn()
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
}

// ask calls the read API with an access token, once.
func ask(t *testing.T, p *server.Server, id, bearer, study string) *http.Response {
	t.Helper()
	address := p.PublicURL() + p.Settings.BasePath + "/DiagnosticReport?_summary=count&researchstudy=" + url.QueryEscape(study)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("X-Partnerid", id)
	return readAnswer(t, req)
}

// askToken calls the token endpoint.
func askToken(t *testing.T, p *server.Server, id, secret string) *http.Response {
	t.Helper()
	form := url.Values{"client_id": {id}, "client_secret": {secret}, "grant_type": {"client_credentials"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.PublicURL()+token.Path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return readAnswer(t, req)
}

// readAnswer reads the whole answer, so that its connection can be used again.
func readAnswer(t *testing.T, req *http.Request) *http.Response {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res
}

// wantClosed checks that reports, keys, access tokens and logins are unavailable to everybody.
func (i *installation) wantClosed(p *server.Server) {
	i.t.Helper()
	for _, c := range []*partnerClient{i.acme, i.revoked, i.rotated, {id: "acme", token: "nonsense"}} {
		res := ask(i.t, p, c.id, c.token, i.study)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || outcome(i.t, body) != "transient: Internal error" {
			i.t.Errorf("data for %s: %d %s", c.id, res.StatusCode, body)
		}
	}
	for id, secret := range map[string]string{"acme": i.secrets["acme"], "rotated": i.oldSecret} {
		res := askToken(i.t, p, id, secret)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(string(body), `"error":"temporarily_unavailable"`) {
			i.t.Errorf("an access token for %s: %d %s", id, res.StatusCode, body)
		}
	}
	req, err := http.NewRequestWithContext(i.t.Context(), http.MethodGet, p.PublicURL()+token.JWKSPath, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	if res := readAnswer(i.t, req); res.StatusCode != http.StatusServiceUnavailable {
		i.t.Errorf("the keys: %d", res.StatusCode)
	}
	i.wantUnanswered(p.NATS.ClientURL(), "acme", i.secrets["acme"])
	i.wantUnanswered(p.NATS.ClientURL(), "rotated", i.oldSecret)
	_, metrics := operations(i.t, p, "/metrics")
	for _, line := range strings.Split(string(metrics), "\n") {
		if strings.HasPrefix(line, "signoff_partners_logins_total{") && !strings.HasSuffix(line, " 0") {
			i.t.Errorf("a login was answered: %s", line)
		}
	}
	status, findings := readiness(i.t, p)
	want := fmt.Sprintf("of %d", p.Start.Recorded.StreamSequence)
	if status != http.StatusServiceUnavailable || !strings.Contains(findings["opening"], want) || !strings.Contains(findings["doors"], "partners cannot subscribe yet") {
		i.t.Errorf("/readyz: %d %v", status, findings)
	}
}

// wantUnanswered logs in as clients do, which time out before the broker reports that no
// callout has answered. That is no refusal, which a client would take as final.
func (i *installation) wantUnanswered(address, id, secret string) {
	i.t.Helper()
	nc, err := nats.Connect(address, nats.UserInfo(id, secret), nats.NoReconnect(), nats.Timeout(time.Second))
	if err == nil {
		nc.Close()
		i.t.Errorf("%s gets in", id)
	}
	if errors.Is(err, nats.ErrAuthorization) {
		i.t.Errorf("%s is refused", id)
	}
}

// wantRight checks that those who have access are admitted, and no one else.
func (i *installation) wantRight(p *server.Server) {
	i.t.Helper()
	if res := ask(i.t, p, "acme", i.acme.token, i.study); res.StatusCode != http.StatusOK {
		i.t.Errorf("acme: %d", res.StatusCode)
	} else {
		var b bundle
		if err := json.NewDecoder(res.Body).Decode(&b); err != nil || b.Total != i.next-1 {
			i.t.Errorf("%d reports of %d, %v", b.Total, i.next-1, err)
		}
	}
	for id, c := range map[string]*partnerClient{"revoked": i.revoked, "rotated": i.rotated} {
		if res := ask(i.t, p, id, c.token, i.study); res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusUnauthorized {
			i.t.Errorf("%s: %d", id, res.StatusCode)
		}
	}
	for secret, want := range map[string]int{i.oldSecret: http.StatusUnauthorized, i.secrets["rotated"]: http.StatusOK} {
		if res := askToken(i.t, p, "rotated", secret); res.StatusCode != want {
			i.t.Errorf("an access token for rotated: %d, want %d", res.StatusCode, want)
		}
	}
	i.wantLogins(p.NATS.ClientURL())
}

// wantLogins checks that those who have access can log in to NATS, and no one else.
func (i *installation) wantLogins(address string) {
	i.t.Helper()
	awaitConsumer(i.t, address, "acme", i.secrets["acme"], i.study)
	if err := opensConsumer(address, "revoked", i.secrets["revoked"], i.study); err == nil {
		i.t.Error("revoked reaches the study's consumer")
	}
	if nc, err := login(address, "rotated", i.oldSecret); err == nil {
		nc.Close()
		i.t.Error("rotated gets in with its old secret")
	}
	awaitConsumer(i.t, address, "rotated", i.secrets["rotated"], i.study)
}

// watch asks for reports repeatedly until stop is called. Every other status than those
// wanted is an error.
func (i *installation) watch(p *server.Server, c *partnerClient, want ...int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		_ = retry.Poll(ctx, func() (bool, error) {
			res := ask(i.t, p, c.id, c.token, i.study)
			ok := false
			for _, w := range want {
				ok = ok || res.StatusCode == w
			}
			if !ok {
				i.t.Errorf("%s was answered %d", c.id, res.StatusCode)
			}
			return false, nil
		})
	})
	return sync.OnceFunc(func() { cancel(); group.Wait() })
}

// refillChild is a server that kills itself while it refills the stream.
func refillChild() int {
	p, err := server.Open(context.Background(), datadir.Dir(os.Args[1]), loopback(), slog.New(slog.DiscardHandler))
	if err == nil {
		var nc *nats.Conn
		if nc, err = p.Connect(natsd.Publisher); err == nil {
			passes := 0
			p.Relay, err = publisher.New(nc, p.Outbox.Source(), publisher.Config{Log: slog.New(slog.DiscardHandler), Step: func(name string) {
				if name == publisher.StepRefill {
					if passes++; passes == 3 {
						_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
						select {}
					}
				}
			}})
		}
	}
	if err == nil {
		err = p.Run(context.Background(), func(datadir.Serving) {})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func TestNothingOpensWhileTheStreamIsRefilled(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, 1500)
	i.lose("jetstream", "readmodel.db*")

	killed := child(t, "refill", i.dir)
	out, err := killed.CombinedOutput()
	if killed.ProcessState == nil || killed.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed: %v\n%s", err, out)
	}

	p := startPaused(t, i.dir, loopback(), 2)
	defer i.watch(p.Server, i.acme, http.StatusOK, http.StatusServiceUnavailable)()
	defer i.watch(p.Server, i.revoked, http.StatusForbidden, http.StatusServiceUnavailable)()
	arrives(t, "the publisher at the step", p.reached)
	eventually(t, "the read model to have applied what is there", func() error {
		if s := p.Model.Status(); s.State != readmodel.Green || s.Position.StreamSequence < 1000 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	i.wantClosed(p.Server)

	// A rebuild does not end before the stream is complete.
	rebuilt := make(chan result, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var progress lockedBuffer
	go func() {
		var out bytes.Buffer
		status := run(ctx, []string{"rebuild", "--data", i.dir}, console.Terminal{Out: &out, Err: &progress})
		rebuilt <- result{status: status, out: out.String()}
	}()
	eventually(t, "the rebuild to have begun", func() error {
		_, err := os.Stat(datadir.Dir(i.dir).ReadModel() + ".rebuild")
		return err
	})
	select {
	case r := <-rebuilt:
		t.Errorf("the rebuild ended: %+v %s", r, progress.String())
	default:
	}

	p.release()
	arrives(t, "a server that is ready", p.ready)
	i.wantRight(p.Server)
	r := <-rebuilt
	var applied uint64 // may be more than was recorded at the start: the head of the audit trail, each minute
	if _, err := fmt.Sscanf(r.out, "the read model is rebuilt from %d events\n", &applied); err != nil || r.status != exitDone || applied < p.Start.Recorded.StreamSequence {
		t.Errorf("%+v %s, %v", r, progress.String(), err)
	}
	i.wantRight(p.Server)
}

func TestACalloutAdmitsNobodyWhileTheStreamIsRefilled(t *testing.T) {
	i := newInstallation(t, 1000)
	o := &clusterServer{cluster: newCluster(t, i.dir, 1)}
	s := o.settings()
	i.lose("jetstream", "readmodel.db*")
	p := startPaused(t, i.dir, s, 2)
	dir := datadir.Dir(t.TempDir())
	a, err := server.OpenCallout(t.Context(), dir, o.calloutSettings(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, func(datadir.Serving) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	arrives(t, "the publisher at the step", p.reached)
	want := fmt.Sprintf("of %d events", p.Start.Recorded.StreamSequence)
	eventually(t, "the callout to say why it is closed", func() error {
		status, findings := readiness(t, &a.Server)
		if status != http.StatusServiceUnavailable || !strings.Contains(findings["doors"], want) || a.Model.Position().StreamSequence < 1000 {
			return fmt.Errorf("%d %v", status, findings)
		}
		return nil
	})
	i.wantUnanswered(o.url(0), "acme", i.secrets["acme"])
	i.wantUnanswered(o.url(0), "rotated", i.oldSecret)

	p.release()
	arrives(t, "a server that is ready", p.ready)
	p.stop()
	eventually(t, "the callout to be ready", func() error {
		if status, findings := readiness(t, &a.Server); status != http.StatusOK {
			return fmt.Errorf("%v", findings)
		}
		return nil
	})
	i.wantLogins(o.url(0))
}

func TestAccessWhileTheBrokerIsAway(t *testing.T) {
	i := newInstallation(t, 3)
	o := &clusterServer{cluster: newCluster(t, i.dir, 1)}
	_, stop := startOnMovedStream(t, i.dir, o.settings())
	stop()
	// Committed while no server runs; it cannot be published while the broker is away.
	var late credentials
	if err := json.Unmarshal([]byte(mustSignoff(t, "partner", "add", "late", "--study", i.study, "--data", i.dir, "--json").out), &late); err != nil {
		t.Fatal(err)
	}
	mustSignoff(t, "partner", "revoke", "acme", i.study, "--data", i.dir)
	o.kill(0)

	p := startPaused(t, i.dir, o.settings(), -1)
	stopWatching := i.watch(p.Server, i.acme, http.StatusForbidden, http.StatusServiceUnavailable)
	rotated := &partnerClient{t: t, p: p.Server, id: "rotated"}
	eventually(t, "the others to get in", p.Admission.Closed)
	rotated.token = rotated.signIn(i.secrets["rotated"])
	if status, body := rotated.get("/DiagnosticReport?researchstudy=" + i.study); status != http.StatusOK {
		t.Errorf("rotated: %d %s", status, body)
	}
	if res := askToken(t, p.Server, "late", late.Secret); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an access token that would be refused: %d", res.StatusCode)
	}
	// What is committed later is respected as well.
	if err := p.Outbox.Accounts().RevokePartner(t.Context(), "test", "rotated", i.study); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revocation to be in force", func() error {
		if status, _ := rotated.get("/DiagnosticReport?researchstudy=" + i.study); status != http.StatusForbidden {
			return fmt.Errorf("%d", status)
		}
		return nil
	})
	stopWatching()

	o.start(0)
	arrives(t, "a server that is ready", p.ready)
	for _, c := range []*partnerClient{i.acme, rotated} {
		if res := ask(t, p.Server, c.id, c.token, i.study); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", c.id, res.StatusCode)
		}
	}
	c := &partnerClient{t: t, p: p.Server, id: "late"}
	c.token = c.signIn(late.Secret)
	if status, body := c.get("/DiagnosticReport?researchstudy=" + i.study); status != http.StatusOK {
		t.Errorf("late: %d %s", status, body)
	}
}

// Whoever has access by the stream is not refused before the stream was asked.
func TestNothingOpensWhileTheBrokerIsAwayAndNothingIsKnown(t *testing.T) {
	dir := t.TempDir()
	o := &clusterServer{cluster: newCluster(t, dir, 1)}
	o.kill(0)
	p := startPaused(t, dir, o.settings(), -1)
	eventually(t, "it to stay closed because the broker is away", func() error {
		closed := p.Admission.Closed()
		if closed == nil {
			t.Fatal("it is open")
		}
		if !strings.Contains(closed.Error(), "neither outbox nor read model contains a published event") {
			return closed
		}
		return nil
	})
	o.start(0)
	arrives(t, "a server that is ready", p.ready)
	eventually(t, "it to open", p.Admission.Closed)
}

// startOnMovedStream starts a server whose stream was moved to another NATS server, and
// makes the read model from there.
func startOnMovedStream(t *testing.T, dir string, s server.Settings) (*server.Server, func()) {
	t.Helper()
	p := startPaused(t, dir, s, -1)
	eventually(t, "a rebuilt read model", func() error {
		if r := signoff(t, "rebuild", "--data", dir); r.status != exitDone {
			return errors.New(r.err)
		}
		return nil
	})
	arrives(t, "a server that is ready", p.ready)
	return p.Server, p.stop
}

// Only Check is called here, once, so that nothing changes meanwhile.
func TestWhetherTheFirstCheckOpens(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, 5)
	path := datadir.Dir(i.dir)
	i.commit(func(o *outbox.Outbox) error { return i.sign(o, 1) })
	p, stop := startServer(t, i.dir)
	awaitCaughtUp(t, p)
	stop()
	older := copyAside(t, path.Outbox()) // ends with an event of a study that goes on
	olderModel := copyAside(t, path.ReadModel())
	i.commit(func(o *outbox.Outbox) error { return i.sign(o, 2) })
	withoutOrdinals := copyAside(t, path.Outbox())
	p, stop = startServer(t, i.dir)
	awaitCaughtUp(t, p)
	stop()
	complete, model := copyAside(t, path.Outbox()), copyAside(t, path.ReadModel())
	stream := filepath.Join(t.TempDir(), "jetstream")
	if err := os.CopyFS(stream, os.DirFS(filepath.Join(i.dir, "jetstream"))); err != nil {
		t.Fatal(err)
	}
	stranger := t.TempDir()
	addKillPI(t, stranger)
	_, stop = startServer(t, stranger)
	mustSignoff(t, "partner", "add", "stranger", "--study", i.study, "--data", stranger)
	stop()

	checkOnce := func(t *testing.T, prepare func(p *server.Server)) (*server.Server, error) {
		t.Helper()
		p, err := server.Open(t.Context(), path, loopback(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		if prepare != nil {
			prepare(p)
		}
		p.Admission.Check(t.Context())
		return p, p.Admission.Closed()
	}
	// restore replaces files of the installation.
	restore := func(t *testing.T, outboxFile, modelFile string, withStream bool) {
		t.Helper()
		i.lose("jetstream", "readmodel.db*", "outbox.db*")
		restoreFile(t, path.Outbox(), outboxFile)
		if modelFile != "" {
			restoreFile(t, path.ReadModel(), modelFile)
		}
		if withStream {
			if err := os.CopyFS(filepath.Join(i.dir, "jetstream"), os.DirFS(stream)); err != nil {
				t.Fatal(err)
			}
		}
	}
	opens := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("closed: %v", err)
		}
	}
	wantClosed := func(t *testing.T, err error, words string) {
		t.Helper()
		if !errors.Is(err, events.Unavailable) || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q: %v", words, err)
		}
	}

	t.Run("an empty installation", func(t *testing.T) {
		p, err := server.Open(t.Context(), datadir.Dir(t.TempDir()), loopback(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.Admission.Check(t.Context())
		opens(t, p.Admission.Closed())
	})
	t.Run("a read model that stands where the outbox does", func(t *testing.T) {
		restore(t, complete, model, true)
		_, err := checkOnce(t, nil)
		opens(t, err)
	})
	t.Run("also where the stream is another, or is gone", func(t *testing.T) {
		restore(t, complete, model, false)
		_, err := checkOnce(t, nil)
		opens(t, err)
	})
	t.Run("also where the outbox lacks ordinals only, without asking the stream", func(t *testing.T) {
		restore(t, withoutOrdinals, model, false)
		_, err := checkOnce(t, nil)
		opens(t, err)
	})
	t.Run("also where the outbox is older, if the stream has its last event", func(t *testing.T) {
		restore(t, older, model, true)
		_, err := checkOnce(t, nil)
		opens(t, err)
	})
	t.Run("not where the read model is older too, and the stream knows more", func(t *testing.T) {
		restore(t, older, olderModel, true)
		p, err := checkOnce(t, nil)
		wantClosed(t, err, "in the stream")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Model.Run(ctx, p.Reader) }()
		eventually(t, "it to open once the read model has applied that", func() error {
			p.Admission.Check(t.Context())
			return p.Admission.Closed()
		})
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("not where that cannot be found out", func(t *testing.T) {
		restore(t, older, model, false)
		_, err := checkOnce(t, nil)
		wantClosed(t, err, "cannot be compared")
	})
	t.Run("not a read model that is missing", func(t *testing.T) {
		restore(t, complete, "", true)
		p, err := checkOnce(t, nil)
		wantClosed(t, err, fmt.Sprintf("the read model is at event 0 of %d", p.Start.Recorded.StreamSequence))
	})
	t.Run("not a read model that is older", func(t *testing.T) {
		restore(t, complete, olderModel, true)
		_, err := checkOnce(t, nil)
		wantClosed(t, err, "the read model is at event")
	})
	t.Run("not one that holds another event there", func(t *testing.T) {
		restore(t, complete, model, true)
		alter(t, path.ReadModel(), "update position set hash = 'x'")
		_, err := checkOnce(t, nil)
		wantClosed(t, err, "do not belong together")
	})
	t.Run("not one of another log that went on for longer", func(t *testing.T) {
		restore(t, datadir.Dir(stranger).Outbox(), model, true)
		_, err := checkOnce(t, nil)
		wantClosed(t, err, "do not belong together")
	})
	t.Run("not before access events are applied that wait to be published", func(t *testing.T) {
		restore(t, complete, model, true)
		i.commit(func(o *outbox.Outbox) error { return o.Accounts().RevokePartner(t.Context(), "test", "acme", i.study) })
		p, err := checkOnce(t, nil)
		wantClosed(t, err, "changes of access that were committed before")
		if d, _ := p.Admission.Directory().Partner("acme"); d.Granted(i.study) {
			t.Error("the study is granted meanwhile")
		}
	})
	t.Run("but where these are parked it does, and they are respected", func(t *testing.T) {
		restore(t, complete, model, true)
		i.commit(func(o *outbox.Outbox) error { return o.Accounts().RevokePartner(t.Context(), "test", "acme", i.study) })
		p, err := checkOnce(t, func(p *server.Server) {
			if err := p.Outbox.Source().Park(t.Context(), events.AccessStudy, "too large"); err != nil {
				t.Fatal(err)
			}
		})
		opens(t, err)
		if d, _ := p.Admission.Directory().Partner("acme"); d.Granted(i.study) {
			t.Error("the study is granted")
		}
	})
	t.Run("and a study that is parked holds up nothing", func(t *testing.T) {
		restore(t, complete, model, true)
		i.commit(func(o *outbox.Outbox) error { return i.sign(o, 1) })
		_, err := checkOnce(t, func(p *server.Server) {
			if err := p.Outbox.Source().Park(t.Context(), events.StudyKey(i.study), "too large"); err != nil {
				t.Fatal(err)
			}
		})
		opens(t, err)
	})
}

func TestAnOlderReadModelOfAnotherStreamIsClosedUntilItIsMadeAnew(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, 5)
	path := datadir.Dir(i.dir)
	older := copyAside(t, path.ReadModel())
	i.commit(func(o *outbox.Outbox) error { return i.sign(o, 2) })
	_, stop := startServer(t, i.dir)
	stop()
	i.lose("jetstream")
	restoreFile(t, path.ReadModel(), older)

	p := startPaused(t, i.dir, loopback(), -1)
	eventually(t, "the finding to name the remedy", func() error {
		if _, findings := readiness(t, p.Server); !strings.Contains(findings["opening"], "signoff rebuild") {
			return errors.New(findings["opening"])
		}
		return nil
	})
	i.wantClosed(p.Server)
	mustSignoff(t, "rebuild", "--data", i.dir)
	arrives(t, "a server that is ready", p.ready)
	i.wantRight(p.Server)
}

func TestAReadModelOfAnotherVersion(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, 5)
	path := datadir.Dir(i.dir).ReadModel()
	t.Run("that can be read serves until it is made anew", func(t *testing.T) {
		alter(t, path, "update derivation set number = 99; delete from access where type like '%key%'")
		p, stop := startServer(t, i.dir)
		defer stop()
		eventually(t, "it to be made anew", func() error {
			if _, findings := readiness(t, p); findings["readModelRefill"] != "" {
				return errors.New(findings["readModelRefill"])
			}
			return nil
		})
		i.wantRight(p)
	})
	t.Run("that cannot be read is set aside, and nothing opens before the new one is filled", func(t *testing.T) {
		alter(t, path, "update migrations set sha256 = 'x'")
		p, stop := startServer(t, i.dir)
		defer stop()
		i.wantRight(p)
		if aside, err := filepath.Glob(path + ".damaged-*"); err != nil || len(aside) == 0 {
			t.Errorf("%q, %v", aside, err)
		}
	})
	t.Run("that is newer is refused", func(t *testing.T) {
		alter(t, path, "insert into migrations (name, sha256, applied) values ('9999_later.sql', 'x', 'x')")
		if _, err := server.Open(t.Context(), datadir.Dir(i.dir), loopback(), slog.New(slog.DiscardHandler)); !errors.Is(err, database.ErrNewer) {
			t.Error(err)
		}
	})
}
