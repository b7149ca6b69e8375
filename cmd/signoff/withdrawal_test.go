package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/admission"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/tokenkey"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// waitFor sets how long commands wait for the server, until the test ends. The test must not
// run beside others.
func waitFor(t *testing.T, d time.Duration) {
	t.Helper()
	before := datadir.AppliedTimeout
	t.Cleanup(func() { datadir.AppliedTimeout = before })
	datadir.AppliedTimeout = d
}

// hasConsumer reports whether the stream has the consumer.
func hasConsumer(t *testing.T, p *server.Server, name string) bool {
	t.Helper()
	nc, err := p.Connect(natsd.Partners)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	list := stream.ConsumerNames(t.Context())
	for n := range list.Name() {
		names = append(names, n)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return slices.Contains(names, name)
}

func TestAWithdrawalThatEndsWithStatus0IsInForceEverywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addKillPI(t, dir)
	p, stop := startServer(t, dir)
	study := killStudy(0)
	partner := make(map[string]*partnerClient)
	secrets := make(map[string]string)
	closed := make(map[string]chan nats.Status)
	for _, id := range []string{"revoked", "rotated", "removed"} {
		partner[id], secrets[id] = newPartnerWithSecret(t, p, id, study)
		eventually(t, "a consumer and a login", func() error {
			if !hasConsumer(t, p, events.PartnerConsumer(id, study)) {
				return errors.New("no consumer")
			}
			nc, err := nats.Connect(p.NATS.ClientURL(), nats.UserInfo(id, secrets[id]), nats.NoReconnect())
			if err != nil {
				return err
			}
			t.Cleanup(nc.Close)
			closed[id] = nc.StatusChanged(nats.CLOSED)
			return nil
		})
	}
	for id, c := range map[string]struct {
		args []string
		want int
	}{
		"revoked": {[]string{"revoke", "revoked", study}, http.StatusForbidden},
		"rotated": {[]string{"rotate", "rotated"}, http.StatusUnauthorized},
		"removed": {[]string{"remove", "removed"}, http.StatusUnauthorized},
	} {
		t.Run(id, func(t *testing.T) {
			mustSignoff(t, append(append([]string{"partner"}, c.args...), "--data", dir)...)
			if res := ask(t, p, id, partner[id].token, study); res.StatusCode != c.want {
				t.Errorf("the read API answers %d", res.StatusCode)
			}
			if id != "rotated" && hasConsumer(t, p, events.PartnerConsumer(id, study)) {
				t.Error("its consumer is there")
			}
			if id != "revoked" {
				if res := askToken(t, p, id, secrets[id]); res.StatusCode != http.StatusUnauthorized {
					t.Errorf("an access token: %d", res.StatusCode)
				}
			}
			select {
			case <-closed[id]: // the server has closed it; only the client may be late to notice
			case <-time.After(patience):
				t.Error("its connection stays open")
			}
		})
	}
	stop()
	t.Run("while no server runs", func(t *testing.T) {
		if r := mustSignoff(t, "partner", "remove", "revoked", "--data", dir); !strings.Contains(r.err, "takes effect when signoff serve starts") {
			t.Error(r.err)
		}
	})
}

// wantPrinted checks what a command that ended something prints when that is not carried
// out in time: for the read API, the state on NATS, and the answers of NATS servers. All but
// the reasons, which are indented, fits a terminal.
func wantPrinted(t *testing.T, printed string, states ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(printed) {
		if !strings.HasPrefix(line, "  ") && len(line) > 81 {
			t.Errorf("%d characters: %s", len(line), line)
		}
		if state, _, _ := strings.Cut(line, " "); slices.Contains([]string{"yes", "no", "unknown"}, state) {
			got = append(got, state)
		}
	}
	if !slices.Equal(got, states) {
		t.Errorf("%q, want the states %q", printed, states)
	}
}

func TestAWithdrawalThatIsNotCarriedOutInTime(t *testing.T) {
	i := newInstallation(t, 1)
	o := &clusterServer{cluster: newCluster(t, i.dir, 1)}
	p, _ := startOnMovedStream(t, i.dir, o.settings())
	removed, secret := newPartnerWithSecret(t, p, "removed", i.study)
	rotated := &partnerClient{t: t, p: p, id: "rotated"}
	rotated.token = rotated.signIn(i.secrets["rotated"])
	o.kill(0)
	if res := ask(t, p, "acme", i.acme.token, i.study); res.StatusCode != http.StatusOK {
		t.Fatalf("before: %d", res.StatusCode)
	}
	for name, c := range map[string]struct {
		client *partnerClient
		args   []string
		want   int
		wait   time.Duration
	}{
		"revoke": {i.acme, []string{"revoke", "acme", i.study}, http.StatusForbidden, 5 * time.Second}, // so that a slow server answers
		"rotate": {rotated, []string{"rotate", "rotated"}, http.StatusUnauthorized, 100 * time.Millisecond},
		"remove": {removed, []string{"remove", "removed"}, http.StatusUnauthorized, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			waitFor(t, c.wait)
			r := signoff(t, append(append([]string{"partner"}, c.args...), "--data", i.dir)...)
			if r.status != exitRefused || !strings.Contains(r.err, "has not carried it out within") {
				t.Errorf("status %d: %s", r.status, r.err)
			}
			if name == "revoke" {
				wantPrinted(t, r.err, "yes", "no", "unknown")
			}
			eventually(t, "a refusal", func() error {
				if res := ask(t, p, c.client.id, c.client.token, i.study); res.StatusCode != c.want {
					return fmt.Errorf("%d", res.StatusCode)
				}
				return nil
			})
		})
	}
	if res := askToken(t, p, "removed", secret); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("an access token: %d", res.StatusCode)
	}
	t.Run("a key that signs", func(t *testing.T) {
		waitFor(t, 5*time.Second)
		before := tokenkey.RotationTimeout
		defer func() { tokenkey.RotationTimeout = before }()
		tokenkey.RotationTimeout = 100 * time.Millisecond
		r := signoff(t, "keys", "revoke", p.TokenKeys.ID(), "--data", i.dir)
		if r.status != exitRefused || !strings.Contains(r.out, "is revoked") || !strings.Contains(r.err, "the rotation is requested") {
			t.Errorf("status %d: %s %s", r.status, r.out, r.err)
		}
		_, states, _ := strings.Cut(r.err, "\n")
		wantPrinted(t, states, "yes", "no", "unknown")
	})
	waitFor(t, 100*time.Millisecond)
	// A secret that replaces another one is not refused because the broker is away.
	var c credentials
	r := signoff(t, "partner", "rotate", "acme", "--data", i.dir, "--json")
	if err := json.Unmarshal([]byte(r.out), &c); err != nil {
		t.Fatal(err)
	}
	if res := askToken(t, p, "acme", c.Secret); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an access token for a new secret: %d", res.StatusCode)
	}
}

func TestAWithdrawalWhileServeJSONIsMissing(t *testing.T) {
	p, _ := startServer(t, t.TempDir())
	dir := string(p.Dir)
	acme := newPartner(t, p, "acme", "S1")
	if err := p.Dir.RemoveServeFile(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 100*time.Millisecond)
	for _, args := range [][]string{{"partner", "revoke", "acme", "S1"}, {"partner", "rotate", "acme"}, {"partner", "remove", "acme"}} {
		r := signoff(t, append(args, "--data", dir)...)
		if r.status != exitRefused || strings.Contains(r.err, "no server is running") || !strings.Contains(r.err, "serve.json") {
			t.Errorf("%s: status %d, %s", args[1], r.status, r.err)
		}
	}
	eventually(t, "a refusal", func() error {
		if res := ask(t, p, "acme", acme.token, "S1"); res.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("%d", res.StatusCode)
		}
		return nil
	})
	current := p.TokenKeys.ID()
	if r := signoff(t, "keys", "revoke", current, "--data", dir); r.status != exitRefused || keyStates(t, dir)[current] != keyRevoked {
		t.Errorf("status %d, %s", r.status, r.err)
	}
}

func TestAWithdrawalWhileTheReadModelHasStopped(t *testing.T) {
	p, _ := startServer(t, t.TempDir())
	partner := make(map[string]*partnerClient)
	secrets := make(map[string]string)
	for _, id := range []string{"revoked", "rotated", "removed"} {
		partner[id], secrets[id] = newPartnerWithSecret(t, p, id, "S1")
	}
	w := newStreamWriter(t, p)
	w.heads[events.StudyKey(events.AccessStudy)] = events.ChainHead{Number: 99, Hash: strings.Repeat("0", 64)} // does not continue the chain
	w.writeAccess(events.AccessPartner, "Partner/x", access.Partner{ID: "x"})
	eventually(t, "the read model to stop", func() error {
		if s := p.Model.Status(); s.State != readmodel.Red {
			return errors.New(string(s.State))
		}
		return nil
	})
	for _, c := range []struct {
		id   string
		args []string
		want int
	}{
		{"revoked", []string{"revoke", "revoked", "S1"}, http.StatusForbidden},
		{"rotated", []string{"rotate", "rotated"}, http.StatusUnauthorized},
		{"removed", []string{"remove", "removed"}, http.StatusUnauthorized},
	} {
		if r := mustSignoff(t, append(append([]string{"partner"}, c.args...), "--data", string(p.Dir))...); r.err != "" {
			t.Errorf("%s: %s", c.id, r.err)
		}
		if res := ask(t, p, c.id, partner[c.id].token, "S1"); res.StatusCode != c.want {
			t.Errorf("%s: the read API answers %d", c.id, res.StatusCode)
		}
		if res := askToken(t, p, c.id, secrets[c.id]); c.id != "revoked" && res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: the token endpoint answers %d", c.id, res.StatusCode)
		}
	}
}

func TestAProcessWithoutAnOutboxAnswersNobodyOnceTheStreamWasNotHeard(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	acme := newPartner(t, p, "acme", "S1")
	awaitCaughtUp(t, p)
	var now atomic.Pointer[time.Time]
	recent := admission.NewRecent(p.Model, 30*time.Second, func() time.Time { return *now.Load() })
	replica := httptest.NewServer(api.New(recent, api.Config{
		BasePath: p.Settings.BasePath, Issuer: p.Settings.TokenIssuer, Ready: recent.Withheld,
	}))
	defer replica.Close()
	for _, c := range []struct {
		later time.Duration
		want  int
	}{{0, http.StatusOK}, {30 * time.Second, http.StatusOK}, {30*time.Second + 1, http.StatusServiceUnavailable}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, replica.URL+p.Settings.BasePath+"/DiagnosticReport?researchstudy=S1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+acme.token)
		req.Header.Set("X-Partnerid", "acme")
		eventually(t, "an answer during which the stream was not heard again", func() error {
			heard := p.Model.Status().Heard
			at := heard.Add(c.later)
			now.Store(&at)
			res := readAnswer(t, req)
			if p.Model.Status().Heard != heard {
				return errors.New("it was heard")
			}
			if res.StatusCode != c.want || (c.want != http.StatusOK) != (res.Header.Get("Retry-After") != "") {
				t.Errorf("%s after the stream was heard: %d, Retry-After %q", c.later, res.StatusCode, res.Header.Get("Retry-After"))
			}
			return nil
		})
	}
}
