package demo

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

//go:embed seed.json
var demoSeed string

//go:embed synthetic.ndjson
var demoSynthetic string

// Who appears in the tour.
const (
	demoPI          = "rivera"
	demoPIName      = "Dr. Ana Rivera"
	demoPartner     = "acme"
	demoMeaning     = "I have reviewed this assessment and approve it."
	demoWithdrawing = "I withdraw this assessment."
	demoReason      = "The scan belongs to another subject."
	demoMistake     = "2007" // signed, then withdrawn
	demoLeft        = "2010" // left for the person at the terminal to sign
)

var demoStudies = []string{"FHIR-T", "DEMO-01"}

// tour shows the program's job step by step and checks that it is done.
type tour struct {
	p    *server.Server
	out  io.Writer
	step int

	password string
	secret   string
	token    string
	ids      []string
	watcher  *watcher
}

func newTour(p *server.Server, out io.Writer) *tour {
	return &tour{p: p, out: out, password: demoSecret()}
}

func (d *tour) run(ctx context.Context) error {
	fmt.Fprintf(d.out, "A tour of the sign-off publisher. Everything is made up and in %s.\n", d.p.Dir)
	stop, err := d.watch(ctx)
	if err != nil {
		return err
	}
	defer stop()
	for _, step := range []func(context.Context) error{
		d.people, d.register, d.nothingYet, d.sign, d.page, d.withdraw, d.complete, d.tryYourself,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *tour) headingf(format string, args ...any) {
	d.step++
	fmt.Fprintf(d.out, "\n%d. "+format+"\n", append([]any{d.step}, args...)...)
}

func (d *tour) linef(format string, args ...any) { fmt.Fprintf(d.out, "   "+format+"\n", args...) }

// watch subscribes to the stream as a downstream service does.
func (d *tour) watch(ctx context.Context) (stop func(), err error) {
	nc, err := d.p.NATS.Connect(natsd.Reader, publisher.Options()...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	d.watcher = newWatcher()
	stopped := d.watcher.start(ctx, js)
	return func() { stopped(); nc.Close() }, nil
}

func (d *tour) people(ctx context.Context) error {
	d.headingf("Who may sign, and who may see")
	if err := d.p.Outbox.Accounts().AddPI(ctx, console.Operator(), demoPI, demoPIName, demoStudies, d.password); err != nil {
		return err
	}
	var err error
	if d.secret, err = d.p.Outbox.Accounts().AddPartner(ctx, console.Operator(), demoPartner, "Acme Therapeutics", demoStudies); err != nil {
		return err
	}
	d.linef("PI       %-7s %s, signs for %s", demoPI, demoPIName, strings.Join(demoStudies, " and "))
	d.linef("partner  %-7s sees %s", demoPartner, strings.Join(demoStudies, " and "))
	return nil
}

func (d *tour) register(ctx context.Context) error {
	d.headingf("A source system hands in assessments; none is signed, so nobody sees them")
	for _, file := range []struct{ name, content string }{{"seed.json", demoSeed}, {"synthetic.ndjson", demoSynthetic}} {
		err := intake.ReadFrom(ctx, strings.NewReader(file.content), file.name, func(r intake.Record) error {
			if r.Err != nil {
				return r.Err
			}
			results, err := d.p.Outbox.Register(ctx, console.Operator(), []events.Submission{r.Submission})
			if err != nil {
				return err
			}
			if results[0].Err != nil {
				return results[0].Err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, study := range demoStudies {
		waiting, err := d.p.Outbox.Waiting(ctx, outbox.WaitingFilter{Study: study})
		if err != nil {
			return err
		}
		d.linef("%-8s %s waiting", study, console.Plural(len(waiting), "assessment"))
		slices.SortStableFunc(waiting, func(a, b outbox.Waiting) int {
			return cmp.Or(cmp.Compare(a.Assessment.Case.ID, b.Assessment.Case.ID), cmp.Compare(a.Assessment.Timepoint, b.Assessment.Timepoint))
		})
		for _, w := range waiting {
			if w.Assessment.ID != demoLeft {
				d.ids = append(d.ids, w.Assessment.ID)
			}
		}
	}
	return nil
}

func (d *tour) nothingYet(ctx context.Context) error {
	var err error
	if d.token, err = d.signIn(ctx); err != nil {
		return err
	}
	for _, study := range demoStudies {
		status, body, err := d.get(ctx, "/DiagnosticReport?researchstudy="+study)
		if err != nil {
			return err
		}
		var answer struct{ Total int }
		if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK || answer.Total != 0 {
			return fmt.Errorf("before any signature the partner got %d %.200s", status, body)
		}
		d.linef("%-8s the partner gets 200, total 0", study)
	}
	return nil
}

func (d *tour) sign(ctx context.Context) error {
	d.headingf("The PI signs, one by one; a subscriber to crit.v1.> has each event at once")
	for i, id := range d.ids {
		start := time.Now()
		signed, err := d.p.Outbox.SignOff(ctx, outbox.SignOff{User: demoPI, Meaning: demoMeaning, IDs: []string{id}})
		if err != nil {
			return err
		}
		arrived, err := d.watcher.await(ctx, signed[0].Event)
		if err != nil {
			return err
		}
		d.linef("%5.1f ms  %-40s #%-2d %s", arrived.at.Sub(start).Seconds()*1000, arrived.event.NATSSubject(), arrived.event.Number, summary(arrived.event.Data))
		if i == 0 {
			d.whole(arrived.event)
		}
	}
	return nil
}

// whole shows one event with all its headers, and the start of its body.
func (d *tour) whole(e events.Event) {
	d.linef("          the CloudEvent's headers, and the FHIR DiagnosticReport in its body:")
	h := e.Header()
	for _, name := range []string{"ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-datacontenttype", "ce-sequence", "ce-previoushash", "ce-hash"} {
		d.linef("          %-19s %s", name, h[name][0])
	}
	d.linef("          %.110s… (%d bytes)", e.Data, len(e.Data))
}

func (d *tour) page(ctx context.Context) error {
	d.headingf("The partner reads a page: the same bytes")
	for _, study := range demoStudies {
		path := "/DiagnosticReport?researchstudy=" + study
		body, err := d.await(ctx, path, http.StatusOK, func(body []byte) bool {
			var answer struct{ Total int }
			return json.Unmarshal(body, &answer) == nil && answer.Total == d.watcher.available(study)
		})
		if err != nil {
			return fmt.Errorf("the page of %s did not show what was signed: %w", study, err)
		}
		d.linef("GET …%s → 200, %s", path, describe(body))
		if missing := d.watcher.missing(study, body); missing != "" {
			return errors.New(missing)
		}
	}
	return nil
}

func (d *tour) withdraw(ctx context.Context) error {
	d.headingf("The PI finds a mistake and withdraws assessment %s", demoMistake)
	signed, err := d.p.Outbox.Withdraw(ctx, outbox.Withdrawal{User: demoPI, ID: demoMistake, Meaning: demoWithdrawing, Reason: demoReason})
	if err != nil {
		return err
	}
	arrived, err := d.watcher.await(ctx, signed.Event)
	if err != nil {
		return err
	}
	d.linef("event    %s  #%d", arrived.event.NATSSubject(), arrived.event.Number)
	body, err := d.await(ctx, "/DiagnosticReport/"+demoMistake, http.StatusGone, func([]byte) bool { return true })
	if err != nil {
		return fmt.Errorf("the withdrawn report is still there: %w", err)
	}
	d.linef("GET …/DiagnosticReport/%s → 410 %s", demoMistake, strings.TrimSpace(string(body)))
	return nil
}

// complete compares what the outbox recorded with what the subscriber got.
func (d *tour) complete(ctx context.Context) error {
	d.headingf("Nothing missing, nothing twice, nothing out of order")
	if err := server.AwaitPublished(ctx, d.p.Outbox, d.p.Relay); err != nil {
		return err
	}
	const all = 1000
	recorded, err := d.p.Outbox.Source().Recorded(ctx, 1, all)
	if err != nil {
		return err
	}
	if err := d.watcher.awaitAll(ctx, recorded); err != nil {
		return err
	}
	d.linef("outbox and stream hold the same %s, number by number and hash by hash", console.Plural(len(recorded), "event"))
	return nil
}

func (d *tour) tryYourself(context.Context) error {
	file := func(name, content string) string {
		path := filepath.Join(string(d.p.Dir), name)
		if err := datadir.WriteFile(path, []byte(content)); err != nil {
			d.p.Log.Error("write a file for the tour", "error", err)
		}
		return path
	}
	headers := file("acme.headers", "Authorization: Bearer "+d.token+"\nx-partnerid: "+demoPartner+"\n")
	form := file("acme.form", d.form().Encode())
	password := file("rivera.password", d.password+"\n")
	env := file("acme.env", fmt.Sprintf("export NATS_URL=%s NATS_USER=%s NATS_PASSWORD=%s\n", d.p.NATS.ClientURL(), demoPartner, d.secret))

	d.headingf("Try it, in another terminal (the files hold the credentials)")
	d.linef("curl -H @%s '%s/DiagnosticReport?researchstudy=DEMO-01&_count=2'", headers, d.base())
	d.linef("curl --data @%s %s     # a new token, each lives an hour", form, d.p.PublicURL()+token.Path)
	d.linef(". %s && nats sub 'crit.v1.DEMO-01.>'     # then sign the one that is left:", env)
	d.linef("%s sign %s --data %s --as %s --meaning 'I approve it.' --password-file %s", self(), demoLeft, d.p.Dir, demoPI, password)
	d.linef("curl http://%s/readyz ; %s status --data %s", d.p.OpsListener.Addr(), self(), d.p.Dir)
	d.linef("(nats is NATS' command line: go install github.com/nats-io/natscli/nats@latest)")
	return nil
}

// self is how the person at the terminal started the program.
func self() string {
	if strings.HasPrefix(os.Args[0], os.TempDir()) {
		return "go run ./cmd/signoff"
	}
	return os.Args[0]
}

func (d *tour) base() string { return d.p.PublicURL() + d.p.Settings.BasePath }

func (d *tour) form() url.Values {
	return url.Values{
		"client_id": {demoPartner}, "client_secret": {d.secret},
		"grant_type": {"client_credentials"}, "scope": {"full"},
	}
}
