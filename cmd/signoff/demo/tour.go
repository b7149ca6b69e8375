package demo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
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

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

//go:embed seed.json
var demoSeed string

//go:embed synthetic.ndjson
var demoSynthetic string

// The people, the partner and the assessments of the tour.
const (
	demoPI          = "rivera"
	demoPIName      = "Dr. Ana Rivera"
	demoPartner     = "acme"
	demoMeaning     = "I have reviewed this assessment and approve it."
	demoWithdrawing = "I withdraw this assessment."
	demoReason      = "The scan belongs to another subject."
	demoMistake     = "2007" // signed, then withdrawn
	demoShown       = "2003" // shown before it is signed
	demoLeft        = "2010" // left for the person at the terminal to sign
	demoDoubtful    = "2011" // contradicts RECIST 1.1; left to be signed at the desk
)

var demoStudies = []string{"FHIR-T", "DEMO-01"}

// tour shows step by step what the program does, and checks that it is done. It acts as
// the operator, the PI and the partner. What people do, it does with the commands that they
// would use.
type tour struct {
	p       *server.Server
	deskURL string
	runner  Runner
	out     io.Writer
	step    int // number of the last heading

	password string            // of the PI
	secret   string            // of the partner
	token    string            // the partner's access token
	ids      []string          // of the assessments that the tour signs, in that order
	pins     map[string]string // by id: the argument of sign for the version that waits, with its digest
	watcher  *watcher
	once     bool // the program ends with the tour
}

func newTour(p *server.Server, deskURL string, out io.Writer, runner Runner, once bool) *tour {
	return &tour{p: p, deskURL: deskURL, out: out, runner: runner, password: rand.Text(), pins: make(map[string]string), once: once}
}

// signoff runs a command with --json. It decodes what that prints into facts, unless facts
// is nil.
func (d *tour) signoff(ctx context.Context, facts any, args ...string) error {
	out, err := d.output(ctx, append(args, "--json")...)
	if err != nil || facts == nil {
		return err
	}
	if err := json.Unmarshal(out, facts); err != nil {
		return fmt.Errorf("signoff %s: read what it printed: %w", args[0], err)
	}
	return nil
}

// output runs a command and returns what it prints.
func (d *tour) output(ctx context.Context, args ...string) ([]byte, error) {
	var out, errOut bytes.Buffer
	line := append(args, "--data", string(d.p.Dir))
	if status := d.runner(ctx, d.p.Outbox, line, console.Terminal{In: strings.NewReader(""), Out: &out, Err: &errOut}); status != 0 {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("signoff %s: exit status %d: %s", args[0], status, errOut.String())
	}
	return out.Bytes(), nil
}

// file writes a file beside the demo's data, readable by its owner only, and
// returns its path.
func (d *tour) file(name, content string) (string, error) {
	path := filepath.Join(string(d.p.Dir), name)
	if err := datadir.WriteFile(path, []byte(content)); err != nil {
		return "", fmt.Errorf("write a file for the tour: %w", err)
	}
	return path, nil
}

// passwordFile is where the PI's password is, for the commands of the tour and
// for the person at the terminal.
const passwordFile = "rivera.password"

func (d *tour) passwordPath() string { return filepath.Join(string(d.p.Dir), passwordFile) }

// run takes the tour. It ends at the first step that fails.
func (d *tour) run(ctx context.Context) error {
	fmt.Fprintf(d.out, "A tour of the sign-off publisher. Everything is made up and in %s.\n", d.p.Dir)
	stop, err := d.watch(ctx)
	if err != nil {
		return err
	}
	defer stop()
	for _, step := range []func(context.Context) error{
		d.people, d.register, d.nothingYet, d.show, d.sign, d.page, d.withdraw, d.complete, d.desk, d.tryYourself,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// headingf prints the numbered heading of a step.
func (d *tour) headingf(format string, args ...any) {
	d.step++
	fmt.Fprintf(d.out, "\n%d. "+format+"\n", append([]any{d.step}, args...)...)
}

func (d *tour) linef(format string, args ...any) { fmt.Fprintf(d.out, "   "+format+"\n", args...) }

// watch subscribes to the stream with the subscriber package, before anything is
// published. Stop ends the subscription.
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

// people adds a PI and a partner for all studies. It writes the PI's passwords to files.
func (d *tour) people(ctx context.Context) error {
	d.headingf("Who may sign, and who may see")
	if _, err := d.file(passwordFile, d.password+"\n"); err != nil {
		return err
	}
	studies := make([]string, 0, 2*len(demoStudies))
	for _, study := range demoStudies {
		studies = append(studies, "--study", study)
	}
	var pi struct {
		Password string `json:"password"`
	}
	add := append([]string{"pi", "add", demoPI, "--name", demoPIName}, studies...)
	if err := d.signoff(ctx, &pi, add...); err != nil {
		return err
	}
	oneTime, err := d.file("rivera.one-time", pi.Password+"\n")
	if err != nil {
		return err
	}
	if err := d.signoff(ctx, nil, "pi", "password", demoPI, "--password-file", oneTime, "--new-password-file", d.passwordPath()); err != nil {
		return err
	}
	var partner struct {
		Secret string `json:"client_secret"`
	}
	add = append([]string{"partner", "add", demoPartner, "--name", "Acme Therapeutics"}, studies...)
	if err := d.signoff(ctx, &partner, add...); err != nil {
		return err
	}
	d.secret = partner.Secret
	d.linef("PI       %-7s %s, signs for %s", demoPI, demoPIName, strings.Join(demoStudies, " and "))
	d.linef("         added with a one-time password, with which the PI chose another")
	d.linef("partner  %-7s sees %s", demoPartner, strings.Join(demoStudies, " and "))
	return nil
}

// register imports the assessments. It selects those that the tour signs: all but demoLeft
// and demoDoubtful, case by case in the order of visits.
func (d *tour) register(ctx context.Context) error {
	d.headingf("A source system hands in assessments; none is signed, so nobody sees them")
	seed, err := d.file("seed.json", demoSeed)
	if err != nil {
		return err
	}
	synthetic, err := d.file("synthetic.ndjson", demoSynthetic)
	if err != nil {
		return err
	}
	if err := d.signoff(ctx, nil, "import", seed, synthetic); err != nil {
		return err
	}
	for _, study := range demoStudies {
		waiting, err := d.p.Outbox.Reviews().Waiting(ctx, review.WaitingFilter{Study: study})
		if err != nil {
			return err
		}
		d.linef("%-8s %s waiting", study, console.Plural(len(waiting), "assessment"))
		slices.SortStableFunc(waiting, func(a, b review.Waiting) int {
			return cmp.Or(cmp.Compare(a.Assessment.Case.ID, b.Assessment.Case.ID), cmp.Compare(a.Assessment.Timepoint, b.Assessment.Timepoint))
		})
		for _, w := range waiting {
			d.pins[w.Assessment.ID] = fmt.Sprintf("%s@%d.%d#%s", w.Assessment.ID, w.Assessment.Case.Revision, w.Assessment.Revision, w.Digest)
			if w.Assessment.ID != demoLeft && w.Assessment.ID != demoDoubtful {
				d.ids = append(d.ids, w.Assessment.ID)
			}
		}
	}
	return nil
}

// nothingYet gets an access token for the partner, and checks that it sees no report before
// any is signed.
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

// show prints what signoff show prints of an assessment that waits.
func (d *tour) show(ctx context.Context) error {
	d.headingf("The PI sees what a signature covers: signoff show %s", demoShown)
	out, err := d.output(ctx, "show", demoShown)
	if err != nil {
		return err
	}
	whole, _, _ := strings.Cut(string(out), "\nTo sign") // without the command to type, because the tour signs all
	for line := range strings.Lines(whole) {
		d.linef("%s", strings.TrimRight(line, "\n"))
	}
	return nil
}

// sign signs the assessments one by one, and waits until the subscriber has the event of
// each.
func (d *tour) sign(ctx context.Context) error {
	d.headingf("The PI signs, one by one; a subscriber to crit.v1.> has each event at once")
	for i, id := range d.ids {
		var signed []outbox.Signed
		if err := d.signoff(ctx, &signed, "sign", d.pins[id], "--as", demoPI, "--meaning", demoMeaning, "--password-file", d.passwordPath()); err != nil {
			return err
		}
		if len(signed) != 1 {
			return fmt.Errorf("assessment %s: %s signed, want 1", id, console.Plural(len(signed), "report"))
		}
		arrived, err := d.watcher.await(ctx, signed[0].Event)
		if err != nil {
			return err
		}
		took := max(0, arrived.at.Sub(signed[0].Time)) // from the time that the signature bears
		d.linef("%5.1f ms  %-40s #%-2d %s", took.Seconds()*1000, arrived.event.NATSSubject(), arrived.event.Number, summary(arrived.event.Data))
		if i == 0 { // one event in full is enough to show the form
			d.whole(arrived.event)
		}
	}
	return nil
}

// whole prints one event with all its headers and the start of its body.
func (d *tour) whole(e events.Event) {
	d.linef("          the CloudEvent's headers, and its body, a FHIR DiagnosticReport:")
	h := e.Header()
	for _, name := range []string{"ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-datacontenttype", "ce-sequence", "ce-previoushash", "ce-hash"} {
		d.linef("          %-19s %s", name, h[name][0])
	}
	d.linef("          %.110s… (%d bytes)", e.Data, len(e.Data))
}

// page waits until the read API has all available reports of each study, and compares
// their bytes with those of the events.
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

// withdraw withdraws a signed assessment, and waits until the subscriber has the event and
// the read API answers 410 for the report.
func (d *tour) withdraw(ctx context.Context) error {
	d.headingf("The PI finds a mistake and withdraws assessment %s", demoMistake)
	var signed outbox.Signed
	if err := d.signoff(ctx, &signed, "withdraw", demoMistake, "--as", demoPI, "--meaning", demoWithdrawing, "--reason", demoReason, "--password-file", d.passwordPath()); err != nil {
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

// complete waits until the subscriber has received as many events as the outbox has
// recorded, and compares them one by one.
func (d *tour) complete(ctx context.Context) error {
	d.headingf("Nothing missing, nothing twice, nothing out of order")
	if err := server.AwaitPublished(ctx, d.p.Outbox, d.p.Relay); err != nil {
		return err
	}
	const all = 1000 // more than the tour makes
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

// desk prints how to sign in at the desk, and which case to look at. The PI has chosen the
// password in the file, so it opens the desk.
func (d *tour) desk(ctx context.Context) error {
	if d.once {
		return nil
	}
	waiting, err := d.p.Outbox.Reviews().Waiting(ctx, review.WaitingFilter{Study: demoStudies[1]})
	if err != nil {
		return err
	}
	at := slices.IndexFunc(waiting, func(w review.Waiting) bool { return w.Assessment.ID == demoDoubtful })
	if at < 0 {
		return fmt.Errorf("assessment %s does not wait", demoDoubtful)
	}
	a := waiting[at].Assessment
	d.headingf("The PI's desk, in a browser on this machine")
	d.linef("%s/", d.deskURL)
	d.linef("user name  %s", demoPI)
	d.linef("password   in %s", d.passwordPath())
	d.linef("Case %d, subject %s: %s is recorded as %s, which", a.Case.ID, a.Subject, a.Name, a.Conclusion)
	d.linef("RECIST 1.1 contradicts. It waits; signing it needs a reason.")
	return nil
}

// tryYourself prints what to try while the program serves.
func (d *tour) tryYourself(context.Context) error {
	if d.once {
		return nil // the addresses end with the program
	}
	headers, err := d.file("acme.headers", "Authorization: Bearer "+d.token+"\nx-partnerid: "+demoPartner+"\n")
	if err != nil {
		return err
	}
	form, err := d.file("acme.form", d.form().Encode())
	if err != nil {
		return err
	}
	env, err := d.file("acme.env", fmt.Sprintf("export NATS_URL=%s NATS_USER=%s NATS_PASSWORD=%s\n", d.p.NATS.ClientURL(), demoPartner, d.secret))
	if err != nil {
		return err
	}
	d.headingf("Try it, in another terminal (the files hold the credentials)")
	d.linef("curl -H @%s '%s/DiagnosticReport?researchstudy=DEMO-01&_count=2'", headers, d.base())
	d.linef("curl --data @%s %s     # a new access token, valid for an hour", form, d.p.PublicURL()+token.Path)
	d.linef(". %s && nats sub 'crit.v1.DEMO-01.>'     # then sign the assessment that is left:", env)
	d.linef("%s show %s --data %s", self(), demoLeft, d.p.Dir)
	d.linef("%s sign '%s' --data %s --as %s --meaning 'I approve it.' --password-file %s", self(), d.pins[demoLeft], d.p.Dir, demoPI, d.passwordPath())
	d.linef("curl http://%s/readyz ; %s status --data %s", d.p.OpsListener.Addr(), self(), d.p.Dir)
	d.linef("(the command nats: go install github.com/nats-io/natscli/nats@latest)")
	return nil
}

// self returns the command by which the program was started. A program in the temporary
// directory was most likely started by go run.
func self() string {
	if strings.HasPrefix(os.Args[0], os.TempDir()) {
		return "go run ./cmd/signoff"
	}
	return os.Args[0]
}

// base returns the URL of the read API.
func (d *tour) base() string { return d.p.PublicURL() + d.p.Settings.BasePath }

// form returns the form that the partner posts to the token endpoint.
func (d *tour) form() url.Values {
	return url.Values{
		"client_id": {demoPartner}, "client_secret": {d.secret},
		"grant_type": {"client_credentials"}, "scope": {"full"},
	}
}
