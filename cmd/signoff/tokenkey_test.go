package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/tokenkey"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// rotated is what signoff keys rotate --json prints.
type rotated struct {
	Key     string
	Retired []struct {
		ID    string
		Until time.Time
		State string
	}
}

func rotateKeys(t *testing.T, dir string) (r rotated) {
	t.Helper()
	out := mustSignoff(t, "keys", "rotate", "--data", dir, "--json").out
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return r
}

// keyStates returns the state of each key that signoff keys list prints.
func keyStates(t *testing.T, dir string) map[string]string {
	t.Helper()
	var rows []struct{ ID, State string }
	out := mustSignoff(t, "keys", "list", "--data", dir, "--json").out
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	states := make(map[string]string)
	for _, r := range rows {
		states[r.ID] = r.State
	}
	return states
}

// keyOf returns the key id in a token's header.
func keyOf(t *testing.T, token string) string {
	t.Helper()
	header, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		t.Fatal(err)
	}
	var h struct{ Kid string }
	if err := json.Unmarshal(text, &h); err != nil {
		t.Fatal(err)
	}
	return h.Kid
}

// published returns the key ids in the key set, as it would be at a time.
func published(t *testing.T, p *server.Server, at time.Time) map[string]bool {
	t.Helper()
	recorder := httptest.NewRecorder()
	token.JWKS(func() []access.Key { return p.Model.Directory().Keys() }, func() time.Time { return at }).
		ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, token.JWKSPath, nil))
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal(recorder.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, k := range set.Keys {
		ids[k.Kid] = true
	}
	return ids
}

// works checks that the read API accepts the token.
func (c *partnerClient) works(what, token string) {
	c.t.Helper()
	was := c.token
	c.token = token
	defer func() { c.token = was }()
	if status, body := c.get("/DiagnosticReport?researchstudy=S1"); status != http.StatusOK {
		c.t.Errorf("%s: %d %.300s", what, status, body)
	}
}

func TestKeysAreRotatedAndTokensStayValid(t *testing.T) {
	t.Parallel()
	p, stop := startServer(t, t.TempDir())
	dir := string(p.Dir)
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	before, old := acme.token, p.TokenKeys.ID()

	r := rotateKeys(t, dir)
	if len(r.Retired) != 1 || r.Retired[0].ID != old || r.Retired[0].State != keyAccepted || r.Key == old {
		t.Fatalf("%+v", r)
	}
	after := acme.signIn(secret)
	if keyOf(t, before) != old || keyOf(t, after) != r.Key {
		t.Errorf("the tokens bear %s and %s", keyOf(t, before), keyOf(t, after))
	}
	acme.works("the token from before", before)
	acme.works("a new token", after)
	if diff := cmp.Diff(map[string]string{old: keyAccepted, r.Key: keySigns}, keyStates(t, dir)); diff != "" {
		t.Error(diff)
	}

	expired := r.Retired[0].Until.Add(access.Lifetime)
	if diff := cmp.Diff(map[string]bool{old: true, r.Key: true}, published(t, p, expired.Add(-time.Second))); diff != "" {
		t.Errorf("while tokens of the old key live: %s", diff)
	}
	if diff := cmp.Diff(map[string]bool{r.Key: true}, published(t, p, expired)); diff != "" {
		t.Errorf("afterwards: %s", diff)
	}
	if until := r.Retired[0].Until; until.After(time.Now().Add(tokenkey.Overlap)) {
		t.Errorf("the old key ends at %s only", until)
	}

	stop()
	p, _ = startServer(t, dir)
	acme.p = p
	acme.works("the token from before, after a restart", before)
	if kid := keyOf(t, acme.signIn(secret)); kid != r.Key {
		t.Errorf("after a restart tokens bear %s", kid)
	}
	if files, err := os.ReadDir(filepath.Dir(p.Dir.TokenKey())); err != nil || len(files) != 2 { // login.nk, token.jwk
		t.Errorf("%v, %v", files, err)
	}
}

// refuses checks that the read API accepts the token no longer.
func (c *partnerClient) refuses(what, token string) {
	c.t.Helper()
	if res := ask(c.t, c.p, c.id, token, "S1"); res.StatusCode != http.StatusUnauthorized {
		c.t.Errorf("%s: %d", what, res.StatusCode)
	}
}

func TestAKeyThatIsRevokedEndsAtOnce(t *testing.T) {
	t.Parallel()
	p, stop := startServer(t, t.TempDir())
	dir := string(p.Dir)
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	first, before := p.TokenKeys.ID(), acme.token
	second := rotateKeys(t, dir).Key
	after := acme.signIn(secret)
	var nc *nats.Conn
	eventually(t, "a login with the token from before", func() (err error) {
		nc, err = nats.Connect(p.NATS.ClientURL(), nats.Token(before), nats.NoReconnect())
		return err
	})
	defer nc.Close()
	closed := nc.StatusChanged(nats.CLOSED)

	mustSignoff(t, "keys", "revoke", first, "--data", dir)
	acme.refuses("the token from before", before)
	acme.works("the token of the other key", after)
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("a connection that was opened with the token from before stays open")
	}
	if nc, err := nats.Connect(p.NATS.ClientURL(), nats.Token(before), nats.NoReconnect()); err == nil {
		nc.Close()
		t.Error("the token from before opens a connection")
	}
	mustSignoff(t, "keys", "revoke", first, "--data", dir) // changes nothing

	// The key that signs is replaced.
	r := mustSignoff(t, "keys", "revoke", second, "--data", dir)
	third := p.TokenKeys.ID()
	if third == second || !strings.Contains(r.out, third) {
		t.Errorf("access tokens are signed with %s after %s was revoked: %s", third, second, r.out)
	}
	acme.refuses("a token of the key that signed", after)
	now := acme.signIn(secret)
	acme.works("a new token", now)
	if diff := cmp.Diff(map[string]string{first: keyRevoked, second: keyRevoked, third: keySigns}, keyStates(t, dir)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{third: true}, published(t, p, time.Now())); diff != "" {
		t.Errorf("the key set: %s", diff)
	}
	refusal(t, exitRefused, []string{"keys", "revoke", "unknown", "--data", dir}, "there is no key")

	stop()
	mustSignoff(t, "keys", "revoke", third, "--data", dir)
	p, _ = startServer(t, dir)
	acme.p = p
	acme.refuses("a token of a key that was revoked while no server ran", now)
	acme.works("a new token", acme.signIn(secret))
}

// After a copy of a data directory both installations have the same keys and secrets.
func TestAnAccessTokenOfACopiedInstallationIsRefused(t *testing.T) {
	t.Parallel()
	settings := loopback()
	settings.TokenIssuer = "" // the public URL, whose port differs
	p, stop := startWith(t, t.TempDir(), settings, slog.New(slog.DiscardHandler))
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	stop()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(string(p.Dir))); err != nil {
		t.Fatal(err)
	}
	_, stop = startWith(t, string(p.Dir), settings, slog.New(slog.DiscardHandler)) // so that its port is not free
	defer stop()
	other := settings
	other.PublicURL = "https://other.example.org"
	acme.p, _ = startWith(t, copied, other, slog.New(slog.DiscardHandler))
	ask := func(token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+acme.p.APIListener.Addr().String()+acme.p.Settings.BasePath+"/DiagnosticReport?researchstudy=S1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("X-Partnerid", "acme")
		return readAnswer(t, req).StatusCode
	}
	if status := ask(acme.token); status != http.StatusUnauthorized {
		t.Errorf("the read API answers %d", status)
	}
	var own *nats.Conn
	eventually(t, "a login with the secret, which is the same", func() (err error) {
		own, err = nats.Connect(acme.p.NATS.ClientURL(), nats.UserInfo("acme", secret), nats.NoReconnect())
		return err
	})
	own.Close()
	if nc, err := nats.Connect(acme.p.NATS.ClientURL(), nats.Token(acme.token), nats.NoReconnect()); err == nil {
		nc.Close()
		t.Error("the token opens a connection")
	}
	acceptable, err := acme.p.TokenKeys.Issue("1", "https://other.example.org"+token.Path, "acme", secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if status := ask(acceptable); status != http.StatusOK {
		t.Errorf("its own token is answered %d", status)
	}
}

func TestKeysAreRotatedWithoutAServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, stop := startServer(t, dir)
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	old := p.TokenKeys.ID()
	stop()
	first := rotateKeys(t, dir)
	second := rotateKeys(t, dir)
	want := map[string]string{old: keyAccepted, first.Key: keyAccepted, second.Key: keySigns}
	if diff := cmp.Diff(want, keyStates(t, dir)); diff != "" {
		t.Error(diff)
	}
	p, _ = startServer(t, dir)
	acme.p = p
	acme.works("the token from before", acme.token)
	if kid := keyOf(t, acme.signIn(secret)); kid != second.Key {
		t.Errorf("tokens bear %s", kid)
	}
}

// rotationChild rotates the keys and kills itself after a step: as a server that
// carries out a request, or as the command where none runs.
func rotationChild() int {
	dir, last, who := datadir.Dir(os.Args[1]), os.Args[2], os.Args[3]
	ctx := context.Background()
	kill := func(name string) {
		if name == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	err := func() error {
		if who == "server" {
			return rotateAndServe(ctx, dir, kill)
		}
		o, err := outbox.Open(ctx, dir.Outbox(), outbox.Config{})
		if err == nil {
			_, _, err = tokenkey.Rotate(ctx, dir, o, "test", kill)
		}
		return err
	}()
	fmt.Fprintln(os.Stderr, "not killed:", err)
	return 1
}

// rotateAndServe runs a server in whose outbox a rotation is requested.
func rotateAndServe(ctx context.Context, dir datadir.Dir, step func(string)) error {
	p, err := server.Open(ctx, dir, loopback(), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	p.TokenKeys.Step = step
	if _, err := p.Outbox.Accounts().RequestKeyRotation(ctx, "test"); err != nil {
		return err
	}
	step(tokenkey.StepRequested)
	return p.Run(ctx, func(datadir.Serving) {})
}

// killRotation has a child rotate the keys, which ends after a step.
func killRotation(t *testing.T, dir, after, who string) {
	t.Helper()
	out, err := child(t, "rotation", dir, after, who).CombinedOutput()
	if err == nil || err.Error() != "signal: killed" {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestARotationCutShortLeavesASystemThatWorks(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"server", "command"} {
		for _, step := range []string{
			tokenkey.StepRequested, tokenkey.StepAnnounced, tokenkey.StepApplied, tokenkey.StepPlaced, tokenkey.StepFinished,
		} {
			t.Run(step+" by the "+who, func(t *testing.T) { checkCutShort(t, step, who) })
		}
	}
}

func checkCutShort(t *testing.T, step, who string) {
	dir := t.TempDir()
	p, stop := startServer(t, dir)
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	before, old := acme.token, p.TokenKeys.ID()
	stop()
	killRotation(t, dir, step, who)
	p, stop = startServer(t, dir)
	acme.p = p
	acme.works("the token from before", before)
	meantime := acme.signIn(secret)
	acme.works("a token from then", meantime)
	eventually(t, "the rotation to be finished by the next server", func() error {
		_, pending, err := p.Outbox.Accounts().PendingKeyRotation(t.Context())
		if err == nil && pending {
			err = errors.New("it is pending")
		}
		return err
	})
	if p.TokenKeys.ID() == old {
		t.Error("the rotation is finished, and the old key signs")
	}

	r := rotateKeys(t, dir)
	after := acme.signIn(secret)
	acme.works("the token from before, later", before)
	acme.works("the token from then, later", meantime)
	acme.works("a new token", after)
	if keyOf(t, after) != r.Key || r.Key == old {
		t.Errorf("tokens bear %s, the key is %s, before it was %s", keyOf(t, after), r.Key, old)
	}
	states := keyStates(t, dir)
	if states[r.Key] != keySigns || states[old] != keyAccepted || len(states) > 4 {
		t.Errorf("the keys are %v", states)
	}
	for id, state := range states {
		if state == keyReady {
			t.Errorf("the key %s is in force and nobody uses it", id)
		}
	}
	stop()
	p, _ = startServer(t, dir)
	acme.p = p
	acme.works("a new token, after a restart", after)
}

func TestARotationThatWasOvertakenIsStartedAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, stop := startServer(t, dir)
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	old := p.TokenKeys.ID()
	stop()
	killRotation(t, dir, tokenkey.StepApplied, "server")
	if err := os.Remove(p.Dir.TokenKey()); err != nil {
		t.Fatal(err)
	}
	p, _ = startServer(t, dir)
	acme.p = p
	acme.works("the token from before", acme.token)
	r := rotateKeys(t, dir) // goes on with the one that was cut short, or comes after it
	acme.works("a new token", acme.signIn(secret))
	states := keyStates(t, dir)
	if len(states) < 4 || states[old] != keyAccepted || states[r.Key] != keySigns {
		t.Errorf("the keys are %v", states)
	}
	for id, state := range states {
		if state == keyReady {
			t.Errorf("the key %s is in force and nobody uses it", id)
		}
	}
}

func TestAKeyFileThatWasReplacedByHand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, stop := startServer(t, dir)
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	old := p.TokenKeys.ID()
	backup, err := os.ReadFile(p.Dir.TokenKey())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"damaged": []byte("{"), "a key that was never announced": stranger} {
		t.Run(name+" does not stop the server", func(t *testing.T) {
			if err := datadir.WriteFile(p.Dir.TokenKey(), file); err != nil {
				t.Fatal(err)
			}
			if err := p.TokenKeys.Advance(t.Context(), time.Now()); err == nil {
				t.Error("no error")
			}
			token := acme.signIn(secret)
			acme.works("a token", token)
			if keyOf(t, token) != old {
				t.Errorf("it bears %s", keyOf(t, token))
			}
		})
	}
	t.Run("is mended by a rotation", func(t *testing.T) {
		r := rotateKeys(t, dir)
		acme.works("a new token", acme.signIn(secret))
		if diff := cmp.Diff(map[string]string{old: keyAccepted, r.Key: keySigns}, keyStates(t, dir)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("does not bring a retired key back", func(t *testing.T) {
		if err := datadir.WriteFile(p.Dir.TokenKey(), backup); err != nil {
			t.Fatal(err)
		}
		if err := p.TokenKeys.Advance(t.Context(), time.Now().Add(time.Hour)); err == nil || p.TokenKeys.ID() == old {
			t.Errorf("%v, %s", err, p.TokenKeys.ID())
		}
		stop()
		_, err := server.Open(t.Context(), datadir.Dir(dir), loopback(), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "was retired") {
			t.Fatalf("%v", err)
		}
		rotateKeys(t, dir)
		p, _ = startServer(t, dir)
		acme.p = p
		acme.works("a new token", acme.signIn(secret))
	})
}

// A server goes on signing with the key in its memory when the key file is damaged or lost. If
// that key is revoked, it must be replaced all the same, or no token would be accepted any more.
func TestTheKeyThatSignsIsReplacedThoughItsFileCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	for name, spoil := range map[string]func() error{
		"damaged": func() error { return datadir.WriteFile(p.Dir.TokenKey(), []byte("{")) },
		"missing": func() error { return os.Remove(p.Dir.TokenKey()) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			old := p.TokenKeys.ID()
			if r := mustSignoff(t, "keys", "list", "--data", dir); !strings.Contains(r.err, "does not show which key signs") {
				t.Errorf("the list does not say that it is not known which key signs: %s%s", r.out, r.err)
			}
			r := mustSignoff(t, "keys", "revoke", old, "--data", dir)
			if now := p.TokenKeys.ID(); now == old || !strings.Contains(r.out, "signed with the key "+now) {
				t.Fatalf("the key %s is not replaced: %s", old, r.out)
			}
			acme.works("a new token", acme.signIn(secret))
			if r := mustSignoff(t, "keys", "list", "--data", dir); r.err != "" {
				t.Errorf("the list of keys complains: %s", r.err)
			}
		})
	}
}

// The command only records the request; the server carries it out.
func TestTheServerCarriesOutARequestedRotation(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
	old := p.TokenKeys.ID()
	o := openedOutbox(t, p.Dir) // as another process has it
	requested, err := o.Accounts().RequestKeyRotation(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rotation to be finished", func() error {
		r, err := o.Accounts().GetKeyRotation(t.Context(), requested.ID)
		if err == nil && !r.Finished {
			err = fmt.Errorf("%+v", r)
		}
		requested = r
		return err
	})
	token := acme.signIn(secret)
	acme.works("the token from before", acme.token)
	acme.works("a new token", token)
	if requested.Key == old || keyOf(t, token) != requested.Key {
		t.Errorf("tokens bear %s, the new key is %s, the old one %s", keyOf(t, token), requested.Key, old)
	}
	if diff := cmp.Diff(map[string]string{old: keyAccepted, requested.Key: keySigns}, keyStates(t, string(p.Dir))); diff != "" {
		t.Error(diff)
	}
}
