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

	"github.com/seed-e88a4ece/signoff/events"
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

	acme, revoked, rotated *partnerClient // with tokens from before access ended
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
	p, stop := startProgram(t, i.dir)
	i.acme, i.secrets["acme"] = newPartnerWithSecret(t, p, "acme", i.study)
	i.revoked, i.secrets["revoked"] = newPartnerWithSecret(t, p, "revoked", i.study, killStudy(1))
	i.rotated, i.oldSecret = newPartnerWithSecret(t, p, "rotated", i.study)
	if err := i.sign(p.outbox, assessments); err != nil {
		t.Fatal(err)
	}
	i.withdrawn = "restored-1"
	if _, err := p.outbox.Withdraw(t.Context(), outbox.Withdrawal{User: "pi", Reason: "another subject", ID: i.withdrawn}); err != nil {
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
	o, err := outbox.Open(i.t.Context(), dataDir(i.dir).outbox(), outbox.Config{})
	if err != nil {
		i.t.Fatal(err)
	}
	if err := errors.Join(change(o), o.Close()); err != nil {
		i.t.Fatal(err)
	}
}

// keep copies a database of the data directory as it is now.
func keep(t *testing.T, path string) (copied string) {
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

// putBack puts a copy in the place of a database that nobody uses.
func putBack(t *testing.T, path, copied string) {
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

// alter changes a database behind everybody's back.
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

// heldProgram is a program whose publisher stops before a batch that it publishes
// again, until release is called.
type heldProgram struct {
	*program
	reached <-chan struct{}
	release func()
	ready   <-chan struct{}
	stop    func()
}

// startHeld runs the program. Passes is how many batches are published again
// before the publisher stops; none if it is negative.
func startHeld(t *testing.T, dir string, s settings, passes int) *heldProgram {
	t.Helper()
	p, err := openProgram(t.Context(), dataDir(dir), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	reached, permit := make(chan struct{}), make(chan struct{})
	holdRelay(t, p, publisher.StepRefill, passes, func() {
		close(reached)
		<-permit
	})
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.run(ctx, func(serving) { close(ready) }) }()
	r := &heldProgram{program: p, reached: reached, release: sync.OnceFunc(func() { close(permit) }), ready: ready}
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

// holdRelay makes the program a publisher that calls fn before a step, after it
// has passed it so often.
func holdRelay(t testing.TB, p *program, step string, passes int, fn func()) {
	t.Helper()
	nc, err := p.connect(natsd.Publisher)
	if err != nil {
		t.Fatal(err)
	}
	p.relay, err = publisher.New(nc, p.outbox.Source(), publisher.Config{
		Stream: publisher.StreamConfig{Replicas: p.settings.NATSReplicas}, Log: slog.New(slog.DiscardHandler), MaxBackoff: 100 * time.Millisecond,
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

// ask calls the read API with a token, once.
func ask(t *testing.T, p *program, id, bearer, study string) *http.Response {
	t.Helper()
	address := p.publicURL() + p.settings.BasePath + "/DiagnosticReport?_summary=count&researchstudy=" + url.QueryEscape(study)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("X-Partnerid", id)
	return readAnswer(t, req)
}

// askToken calls the token endpoint.
func askToken(t *testing.T, p *program, id, secret string) *http.Response {
	t.Helper()
	form := url.Values{"client_id": {id}, "client_secret": {secret}, "grant_type": {"client_credentials"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.publicURL()+token.Path, strings.NewReader(form.Encode()))
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

// wantClosed wants data, keys, tokens and logins to be put off, for everybody.
func (i *installation) wantClosed(p *program) {
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
			i.t.Errorf("a token for %s: %d %s", id, res.StatusCode, body)
		}
	}
	req, err := http.NewRequestWithContext(i.t.Context(), http.MethodGet, p.publicURL()+token.JWKSPath, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	if res := readAnswer(i.t, req); res.StatusCode != http.StatusServiceUnavailable {
		i.t.Errorf("the keys: %d", res.StatusCode)
	}
	i.wantUnanswered(p.nats.ClientURL(), "acme", i.secrets["acme"])
	i.wantUnanswered(p.nats.ClientURL(), "rotated", i.oldSecret)
	_, metrics := operations(i.t, p, "/metrics")
	for _, line := range strings.Split(string(metrics), "\n") {
		if strings.HasPrefix(line, "signoff_doors_logins_total{") && !strings.HasSuffix(line, " 0") {
			i.t.Errorf("a login was answered: %s", line)
		}
	}
	status, findings := readiness(i.t, p)
	want := fmt.Sprintf("of %d", p.start.recorded.StreamSequence)
	if status != http.StatusServiceUnavailable || !strings.Contains(findings["opening"], want) || !strings.Contains(findings["doors"], "partners cannot subscribe yet") {
		i.t.Errorf("/readyz: %d %v", status, findings)
	}
}

// wantUnanswered logs in as clients do, who give up before the broker says that
// nobody has answered. That is no refusal, which would be the end for them.
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

// wantRight wants those let in who should be, and nobody else.
func (i *installation) wantRight(p *program) {
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
			i.t.Errorf("a token for rotated: %d, want %d", res.StatusCode, want)
		}
	}
	i.wantLogins(p.nats.ClientURL())
}

// wantLogins wants the right ones to get in on NATS.
func (i *installation) wantLogins(address string) {
	i.t.Helper()
	login := func(id, secret string) (*nats.Conn, error) {
		return nats.Connect(address, nats.UserInfo(id, secret), nats.NoReconnect(), nats.Timeout(time.Minute),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	}
	opens := func(id, secret string) error {
		nc, err := login(id, secret)
		if err != nil {
			return err
		}
		defer nc.Close()
		_, err = nc.Request("js.signoff.CONSUMER.INFO.SIGNOFF."+events.PartnerConsumer(id, events.StudyKey(i.study)), nil, time.Second)
		return err
	}
	eventually(i.t, "a login of acme", func() error { return opens("acme", i.secrets["acme"]) })
	if err := opens("revoked", i.secrets["revoked"]); err == nil {
		i.t.Error("revoked reaches the study's consumer")
	}
	if nc, err := login("rotated", i.oldSecret); err == nil {
		nc.Close()
		i.t.Error("rotated gets in with its old secret")
	}
	eventually(i.t, "a login of rotated", func() error { return opens("rotated", i.secrets["rotated"]) })
}

// watch asks for data again and again, until stop is called, which reports the
// answers other than those wanted.
func (i *installation) watch(p *program, c *partnerClient, want ...int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			res := ask(i.t, p, c.id, c.token, i.study)
			ok := false
			for _, w := range want {
				ok = ok || res.StatusCode == w
			}
			if !ok {
				i.t.Errorf("%s was answered %d", c.id, res.StatusCode)
			}
			_ = pause(ctx)
		}
	})
	return sync.OnceFunc(func() { cancel(); group.Wait() })
}

// refillChild is a program that is killed while it fills the stream again.
func refillChild() int {
	p, err := openProgram(context.Background(), dataDir(os.Args[1]), loopback(), slog.New(slog.DiscardHandler))
	if err == nil {
		var nc *nats.Conn
		if nc, err = p.connect(natsd.Publisher); err == nil {
			passes := 0
			p.relay, err = publisher.New(nc, p.outbox.Source(), publisher.Config{Log: quiet, Step: func(name string) {
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
		err = p.run(context.Background(), func(serving) {})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func TestNothingOpensWhileTheLogIsFilledAgain(t *testing.T) {
	i := newInstallation(t, 1500)
	i.lose("jetstream", "readmodel.db*")

	killed := child(t, "refill", i.dir)
	out, err := killed.CombinedOutput()
	if killed.ProcessState == nil || killed.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed: %v\n%s", err, out)
	}

	p := startHeld(t, i.dir, loopback(), 2)
	defer i.watch(p.program, i.acme, http.StatusOK, http.StatusServiceUnavailable)()
	defer i.watch(p.program, i.revoked, http.StatusForbidden, http.StatusServiceUnavailable)()
	<-p.reached
	eventually(t, "the read model to have applied what is there", func() error {
		if s := p.model.Status(); s.State != readmodel.Green || s.Position.StreamSequence < 1000 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	i.wantClosed(p.program)

	// A rebuild does not take the beginning for all there is, nor end.
	rebuilt := make(chan result, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var progress lockedBuffer
	go func() {
		var out bytes.Buffer
		status := run(ctx, []string{"rebuild", "--data", i.dir}, terminal{out: &out, err: &progress})
		rebuilt <- result{status: status, out: out.String()}
	}()
	eventually(t, "the rebuild to have begun", func() error {
		_, err := os.Stat(dataDir(i.dir).readModel() + ".rebuild")
		return err
	})
	select {
	case r := <-rebuilt:
		t.Errorf("the rebuild ended: %+v %s", r, progress.String())
	default:
	}

	p.release()
	<-p.ready
	i.wantRight(p.program)
	if r := <-rebuilt; r.status != exitDone || !strings.Contains(r.out, fmt.Sprint(p.start.recorded.StreamSequence)) {
		t.Errorf("%+v %s", r, progress.String())
	}
	i.wantRight(p.program)
}

func TestACalloutOpensNothingWhileTheLogIsFilledAgain(t *testing.T) {
	i := newInstallation(t, 1000)
	o := &onCluster{cluster: newCluster(t, i.dir, 1)}
	s := o.settings()
	i.lose("jetstream", "readmodel.db*")
	p := startHeld(t, i.dir, s, 2)
	dir := dataDir(t.TempDir())
	a, err := openAnswerer(t.Context(), dir, calloutCommand{
		natsFlags: o.flags(), OpsListen: "127.0.0.1:0", LoginKey: filepath.Join(o.conf, credentialsDir, loginKeyFile),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx, func(serving) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-p.reached
	want := fmt.Sprintf("of %d events", p.start.recorded.StreamSequence)
	eventually(t, "the callout to say why it is closed", func() error {
		status, findings := readiness(t, &a.program)
		if status != http.StatusServiceUnavailable || !strings.Contains(findings["doors"], want) || a.model.Position().StreamSequence < 1000 {
			return fmt.Errorf("%d %v", status, findings)
		}
		return nil
	})
	i.wantUnanswered(o.url(0), "acme", i.secrets["acme"])
	i.wantUnanswered(o.url(0), "rotated", i.oldSecret)

	p.release()
	<-p.ready
	p.stop()
	eventually(t, "the callout to be ready", func() error {
		if status, findings := readiness(t, &a.program); status != http.StatusOK {
			return fmt.Errorf("%v", findings)
		}
		return nil
	})
	i.wantLogins(o.url(0))
}

func TestABrokerThatIsAwayLocksNobodyOutAndLetsNobodyIn(t *testing.T) {
	i := newInstallation(t, 3)
	o := &onCluster{cluster: newCluster(t, i.dir, 1)}
	_, stop := startMoved(t, i.dir, o.settings())
	stop()
	// Committed while nothing runs, and not to be published for now.
	var late credentials
	if err := json.Unmarshal([]byte(mustSignoff(t, "partner", "add", "late", "--study", i.study, "--data", i.dir, "--json").out), &late); err != nil {
		t.Fatal(err)
	}
	mustSignoff(t, "partner", "revoke", "acme", i.study, "--data", i.dir)
	o.kill(0)

	p := startHeld(t, i.dir, o.settings(), -1)
	stopWatching := i.watch(p.program, i.acme, http.StatusForbidden, http.StatusServiceUnavailable)
	rotated := &partnerClient{t: t, p: p.program, id: "rotated"}
	eventually(t, "the others to get in", p.opening.closed)
	rotated.token = rotated.signIn(i.secrets["rotated"])
	if status, body := rotated.get("/DiagnosticReport?researchstudy=" + i.study); status != http.StatusOK {
		t.Errorf("rotated: %d %s", status, body)
	}
	if res := askToken(t, p.program, "late", late.Secret); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a token that would be refused: %d", res.StatusCode)
	}
	// What is committed later is respected as well.
	if err := p.outbox.Accounts().RevokePartner(t.Context(), "test", "rotated", i.study); err != nil {
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
	<-p.ready
	for _, c := range []*partnerClient{i.acme, rotated} {
		if res := ask(t, p.program, c.id, c.token, i.study); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", c.id, res.StatusCode)
		}
	}
	c := &partnerClient{t: t, p: p.program, id: "late"}
	c.token = c.signIn(late.Secret)
	if status, body := c.get("/DiagnosticReport?researchstudy=" + i.study); status != http.StatusOK {
		t.Errorf("late: %d %s", status, body)
	}
}

// startMoved starts a program on a server to which the stream was moved, and makes
// the read model from there.
func startMoved(t *testing.T, dir string, s settings) (*program, func()) {
	t.Helper()
	p := startHeld(t, dir, s, -1)
	eventually(t, "a rebuilt read model", func() error {
		if r := signoff(t, "rebuild", "--data", dir); r.status != exitDone {
			return errors.New(r.err)
		}
		return nil
	})
	<-p.ready
	return p.program, p.stop
}

// Nothing runs here but one look, so that what it finds is all there is.
func TestWhatOpensAtTheFirstLook(t *testing.T) {
	i := newInstallation(t, 5)
	path := dataDir(i.dir)
	i.commit(func(o *outbox.Outbox) error { return i.sign(o, 1) })
	_, stop := startProgram(t, i.dir)
	stop()
	older := keep(t, path.outbox()) // ends with an event of a study that goes on
	olderModel := keep(t, path.readModel())
	i.commit(func(o *outbox.Outbox) error { return i.sign(o, 2) })
	withoutOrdinals := keep(t, path.outbox())
	_, stop = startProgram(t, i.dir)
	stop()
	complete, model := keep(t, path.outbox()), keep(t, path.readModel())
	stream := filepath.Join(t.TempDir(), "jetstream")
	if err := os.CopyFS(stream, os.DirFS(filepath.Join(i.dir, "jetstream"))); err != nil {
		t.Fatal(err)
	}
	stranger := t.TempDir()
	addKillPI(t, stranger)
	_, stop = startProgram(t, stranger)
	mustSignoff(t, "partner", "add", "stranger", "--study", i.study, "--data", stranger)
	stop()

	look := func(t *testing.T, prepare func(p *program)) (*program, error) {
		t.Helper()
		p, err := openProgram(t.Context(), path, loopback(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.close(); err != nil {
				t.Error(err)
			}
		})
		if prepare != nil {
			prepare(p)
		}
		p.opening.look(t.Context())
		return p, p.opening.closed()
	}
	// restore is the installation with other files.
	restore := func(t *testing.T, outboxFile, modelFile string, withStream bool) {
		t.Helper()
		i.lose("jetstream", "readmodel.db*", "outbox.db*")
		putBack(t, path.outbox(), outboxFile)
		if modelFile != "" {
			putBack(t, path.readModel(), modelFile)
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
	stays := func(t *testing.T, err error, words string) {
		t.Helper()
		if !errors.Is(err, events.Unavailable) || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q: %v", words, err)
		}
	}

	t.Run("an empty installation", func(t *testing.T) {
		p, err := openProgram(t.Context(), dataDir(t.TempDir()), loopback(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		p.opening.look(t.Context())
		opens(t, p.opening.closed())
	})
	t.Run("a read model that stands where the outbox does", func(t *testing.T) {
		restore(t, complete, model, true)
		_, err := look(t, nil)
		opens(t, err)
	})
	t.Run("also where the stream is another, or is gone", func(t *testing.T) {
		restore(t, complete, model, false)
		_, err := look(t, nil)
		opens(t, err)
	})
	t.Run("also where the outbox lacks ordinals only, without asking the stream", func(t *testing.T) {
		restore(t, withoutOrdinals, model, false)
		_, err := look(t, nil)
		opens(t, err)
	})
	t.Run("also where the outbox is older, if the stream has its last event", func(t *testing.T) {
		restore(t, older, model, true)
		_, err := look(t, nil)
		opens(t, err)
	})
	t.Run("not where the read model is older too, and the stream knows more", func(t *testing.T) {
		restore(t, older, olderModel, true)
		p, err := look(t, nil)
		stays(t, err, "in the stream")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.model.Run(ctx, p.reader) }()
		eventually(t, "it to open once the read model has applied that", func() error {
			p.opening.look(t.Context())
			return p.opening.closed()
		})
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("not where that cannot be found out", func(t *testing.T) {
		restore(t, older, model, false)
		_, err := look(t, nil)
		stays(t, err, "cannot be compared")
	})
	t.Run("not a read model that is missing", func(t *testing.T) {
		restore(t, complete, "", true)
		p, err := look(t, nil)
		stays(t, err, fmt.Sprintf("the read model is at event 0 of %d", p.start.recorded.StreamSequence))
	})
	t.Run("not a read model that is older", func(t *testing.T) {
		restore(t, complete, olderModel, true)
		_, err := look(t, nil)
		stays(t, err, "the read model is at event")
	})
	t.Run("not one that holds another event there", func(t *testing.T) {
		restore(t, complete, model, true)
		alter(t, path.readModel(), "update position set hash = 'x'")
		_, err := look(t, nil)
		stays(t, err, "do not belong together")
	})
	t.Run("not one of another log that went on for longer", func(t *testing.T) {
		restore(t, dataDir(stranger).outbox(), model, true)
		_, err := look(t, nil)
		stays(t, err, "do not belong together")
	})
	t.Run("not before access events are applied that wait to be published", func(t *testing.T) {
		restore(t, complete, model, true)
		i.commit(func(o *outbox.Outbox) error { return o.Accounts().RevokePartner(t.Context(), "test", "acme", i.study) })
		p, err := look(t, nil)
		stays(t, err, "changes of access that were committed before")
		if d, _ := p.opening.Directory().Partner("acme"); d.Granted(i.study) {
			t.Error("the study is granted meanwhile")
		}
	})
	t.Run("but where these are parked it does, and they are respected", func(t *testing.T) {
		restore(t, complete, model, true)
		i.commit(func(o *outbox.Outbox) error { return o.Accounts().RevokePartner(t.Context(), "test", "acme", i.study) })
		p, err := look(t, func(p *program) {
			if err := p.outbox.Source().Park(t.Context(), events.AccessStudy, "too large"); err != nil {
				t.Fatal(err)
			}
		})
		opens(t, err)
		if d, _ := p.opening.Directory().Partner("acme"); d.Granted(i.study) {
			t.Error("the study is granted")
		}
	})
	t.Run("and a study that is parked holds up nothing", func(t *testing.T) {
		restore(t, complete, model, true)
		i.commit(func(o *outbox.Outbox) error { return i.sign(o, 1) })
		_, err := look(t, func(p *program) {
			if err := p.outbox.Source().Park(t.Context(), events.StudyKey(i.study), "too large"); err != nil {
				t.Fatal(err)
			}
		})
		opens(t, err)
	})
}

func TestAnOlderReadModelOfAnotherStreamIsClosedUntilItIsMadeAnew(t *testing.T) {
	i := newInstallation(t, 5)
	path := dataDir(i.dir)
	older := keep(t, path.readModel())
	i.commit(func(o *outbox.Outbox) error { return i.sign(o, 2) })
	_, stop := startProgram(t, i.dir)
	stop()
	i.lose("jetstream")
	putBack(t, path.readModel(), older)

	p := startHeld(t, i.dir, loopback(), -1)
	eventually(t, "what to do to be said", func() error {
		if _, findings := readiness(t, p.program); !strings.Contains(findings["opening"], "signoff rebuild") {
			return errors.New(findings["opening"])
		}
		return nil
	})
	i.wantClosed(p.program)
	mustSignoff(t, "rebuild", "--data", i.dir)
	<-p.ready
	i.wantRight(p.program)
}

func TestAReadModelOfAnotherVersion(t *testing.T) {
	i := newInstallation(t, 5)
	path := dataDir(i.dir).readModel()
	t.Run("that can be read serves until it is made anew", func(t *testing.T) {
		alter(t, path, "update derivation set number = 99; delete from access where type like '%key%'")
		p, stop := startProgram(t, i.dir)
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
		p, stop := startProgram(t, i.dir)
		defer stop()
		i.wantRight(p)
		if aside, err := filepath.Glob(path + ".damaged-*"); err != nil || len(aside) == 0 {
			t.Errorf("%q, %v", aside, err)
		}
	})
	t.Run("that is newer is refused", func(t *testing.T) {
		alter(t, path, "insert into migrations (name, sha256, applied) values ('9999_later.sql', 'x', 'x')")
		if _, err := openProgram(t.Context(), dataDir(i.dir), loopback(), slog.New(slog.DiscardHandler)); !errors.Is(err, database.ErrNewer) {
			t.Error(err)
		}
	})
}
