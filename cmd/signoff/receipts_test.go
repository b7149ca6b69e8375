package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// consume takes messages with a partner's consumer and acknowledges some.
func consume(t *testing.T, p *server.Server, id, secret, study string, take, acknowledge int) {
	t.Helper()
	var nc *nats.Conn
	var consumer jetstream.Consumer
	eventually(t, "a login that opens the consumer", func() (err error) {
		if nc, err = login(p.NATS.ClientURL(), id, secret); err != nil {
			return err
		}
		js, err := jetstream.NewWithAPIPrefix(nc, events.PartnerAPIPrefix, jetstream.WithDefaultTimeout(10*time.Second))
		if err == nil {
			consumer, err = js.Consumer(t.Context(), events.Stream, events.PartnerConsumer(id, events.StudyKey(study)))
		}
		if err != nil {
			nc.Close()
		}
		return err
	})
	defer nc.Close()
	batch, err := consumer.Fetch(take, jetstream.FetchMaxWait(tenancy.MaxRequestExpires))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for m := range batch.Messages() {
		if n++; n <= acknowledge {
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n != take {
		t.Fatalf("%d messages came, %v", n, batch.Error())
	}
}

// statusOf returns what signoff status --json prints.
func statusOf(t *testing.T, dir string) (facts statusFacts) {
	t.Helper()
	out := mustSignoff(t, "status", "--data", dir, "--json").out
	if err := json.Unmarshal([]byte(out), &facts); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return facts
}

func TestStatusShowsWhatPartnersHaveReceived(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	ctx := t.Context()
	study := killStudy(0)
	if err := accountstest.AddPI(ctx, p.Outbox.Accounts(), "test", "pi", "P. Investigator", []string{study}, testPassword); err != nil {
		t.Fatal(err)
	}
	_, secret := newPartnerWithSecret(t, p, "acme", study)
	newPartner(t, p, "globex", study)
	for i, id := range []string{"a1", "a2", "a3"} { // two events each
		if _, err := registerAndSign(ctx, p.Outbox, killAssessment(id, 0, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	awaitCaughtUp(t, p)
	consume(t, p, "acme", secret, study, 4, 2)

	lagOf := func(partner string) (found receipts.Lag) {
		for _, l := range statusOf(t, dir).Partners {
			if l.Partner == partner && l.Study == study {
				found = l
			}
		}
		return found
	}
	eventually(t, "the receipts, which are read every few seconds", func() error {
		if l := lagOf("acme"); l.Delivered != 4 || l.Acknowledged != 2 || l.Last != 6 || l.Behind != 4 || l.Since.IsZero() {
			return fmt.Errorf("acme: %+v", l)
		}
		if l := lagOf("globex"); l.Delivered != 0 || l.Behind != 6 {
			return fmt.Errorf("globex: %+v", l)
		}
		return nil
	})
	states := make(map[string]string)
	for _, id := range []string{"a1", "a2", "a3"} {
		var r receipts.Reception
		if err := json.Unmarshal([]byte(mustSignoff(t, "status", "--assessment", id, "--data", dir, "--json").out), &r); err != nil {
			t.Fatal(err)
		}
		for _, receiver := range r.Receivers {
			states[id+" "+receiver.Partner] = receiver.State
		}
	}
	want := map[string]string{
		"a1 acme": receipts.Acknowledged, "a2 acme": receipts.Delivered, "a3 acme": receipts.NotDelivered,
		"a1 globex": receipts.NotDelivered, "a2 globex": receipts.NotDelivered, "a3 globex": receipts.NotDelivered,
	}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text := mustSignoff(t, "status", "--data", dir).out
	if strings.Contains(text, "_access") || strings.Contains(text, "_partner") || !strings.Contains(text, "ACKNOWLEDGED") {
		t.Errorf("status prints\n%s", text)
	}
	if text := mustSignoff(t, "status", "--assessment", "a2", "--data", dir).out; !strings.Contains(text, "acme     delivered\n") {
		t.Errorf("status --assessment prints\n%s", text)
	}
	refusal(t, exitRefused, []string{"status", "--assessment", "none", "--data", dir}, "nothing of an assessment")
	eventually(t, "a status with a server that is ready", func() error {
		if facts := statusOf(t, dir); facts.Server != "ready" {
			return fmt.Errorf("the server is %q: %v", facts.Server, facts.Findings)
		}
		return nil
	})
	for _, id := range []string{"acme", "globex"} {
		mustSignoff(t, "partner", "remove", id, "--data", dir)
	}
	if text := mustSignoff(t, "status", "--assessment", "a2", "--data", dir).out; !strings.Contains(text, "no partner may see ") || strings.Contains(text, "STATE") {
		t.Errorf("status --assessment without partners prints\n%s", text)
	}
}

func TestASecretIsRotatedWithGraceAndWithout(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	dir := string(p.Dir)
	acme, first := newPartnerWithSecret(t, p, "acme", "S1")
	rotate := func(args ...string) string {
		t.Helper()
		var c credentials
		out := mustSignoff(t, append([]string{"partner", "rotate", "acme", "--data", dir, "--json"}, args...)...).out
		if err := json.Unmarshal([]byte(out), &c); err != nil {
			t.Fatal(err)
		}
		return c.Secret
	}
	tokenOf := map[string]string{first: acme.token}
	opensWith := func(secret string) error {
		nc, err := login(p.NATS.ClientURL(), "acme", secret)
		if err == nil {
			nc.Close()
		}
		return err
	}
	opens := func(secret string) { // once the callout has applied the change
		t.Helper()
		eventually(t, "a login", func() error { return opensWith(secret) })
	}

	second := rotate("--grace", "1h")
	for _, secret := range []string{first, second} {
		acme.works("a token from before", tokenOf[first])
		tokenOf[secret] = acme.signIn(secret)
		acme.works("a token of each secret", tokenOf[secret])
		opens(secret)
	}
	third := rotate()
	acme.works("a token of the new secret", acme.signIn(third))
	for _, secret := range []string{first, second} {
		acme.token = tokenOf[secret]
		if status, _ := acme.get("/DiagnosticReport?researchstudy=S1"); status != http.StatusUnauthorized {
			t.Errorf("an access token of a secret that was replaced: %d", status)
		}
		if err := opensWith(secret); err == nil {
			t.Error("NATS takes a secret that was replaced")
		}
	}
	opens(third)
	refusal(t, exitRefused, []string{"partner", "rotate", "acme", "--grace=-1s", "--data", dir}, "negative")
}

// Who interrupts a command while it asks the server learns nothing of the server.
func TestStatusThatIsInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	unlock, err := datadir.Dir(dir).Lock(datadir.ServePurpose)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for _, command := range []string{"status", "ready"} {
		ctx, interrupt := context.WithCancel(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			interrupt()
			<-r.Context().Done()
		}))
		if err := datadir.Dir(dir).WriteServeFile(datadir.Serving{OpsURL: server.URL}); err != nil {
			t.Fatal(err)
		}
		var out, complaints bytes.Buffer
		status := run(ctx, []string{command, "--data", dir}, console.Terminal{In: strings.NewReader(""), Out: &out, Err: &complaints})
		if said := out.String() + complaints.String(); status != exitRefused || strings.Contains(said, "not ready") || !strings.Contains(said, "context canceled") {
			t.Errorf("%s: status %d\n%s", command, status, said)
		}
		server.Close()
	}
}

func TestStatusOfAServerThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	unlock, err := datadir.Dir(dir).Lock(datadir.ServePurpose) // as a server that starts
	if err != nil {
		t.Fatal(err)
	}
	if facts := statusOf(t, dir); facts.Server != "not ready" || !strings.Contains(facts.Findings["serve.json"], "is missing") {
		t.Errorf("with a server: %+v", facts)
	}
	refusal(t, exitRefused, []string{"ready", "--data", dir}, "is missing", "is not ready")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for answer, url := range map[string]string{"no answer: ": "http://" + brokertest.FreeAddresses(t, 1)[0], "status 404": other.URL} {
		if err := datadir.Dir(dir).WriteServeFile(datadir.Serving{OpsURL: url}); err != nil {
			t.Fatal(err)
		}
		if facts := statusOf(t, dir); facts.Server != "not ready" || !strings.Contains(facts.Findings["/readyz"], answer) {
			t.Errorf("with a server that does not answer as it should: %+v", facts)
		}
		refusal(t, exitRefused, []string{"ready", "--data", dir}, "/readyz: ", answer, "is not ready")
	}
	unlock()
	if facts := statusOf(t, dir); facts.Server != "not running" || facts.Findings != nil {
		t.Errorf("without one: %+v", facts)
	}
	if unlock, err = datadir.Dir(dir).Lock("callout"); err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := datadir.Dir(dir).WriteServeFile(datadir.Serving{OpsURL: "http://" + brokertest.FreeAddresses(t, 1)[0]}); err != nil {
		t.Fatal(err)
	}
	refusal(t, exitRefused, []string{"ready", "--data", dir}, "no answer: ", "is not ready")
}
