package outbox_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
)

const (
	study    = "FHIR-T"
	password = "correct horse battery"
	meaning  = "I have reviewed and approve this assessment"
	operator = "ops"

	withdrawing = "I withdraw this assessment"
	source      = "edc"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		signAndDie(path)
		return
	}
	leaktest.Main(m)
}

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// elapsed returns the time that has passed by this clock, as a clock that is never
// set would have it.
func (c *clock) elapsed() func() time.Duration {
	start := c.now()
	return func() time.Duration { return c.now().Sub(start) }
}

// testOutbox is an outbox with a clock of its own and PIs who may sign.
type testOutbox struct {
	*outbox.Outbox
	t     testing.TB
	path  string
	clock *clock
}

func open(t testing.TB, path string, cfg outbox.Config) *outbox.Outbox {
	t.Helper()
	o, err := outbox.Open(t.Context(), path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// openAgain opens the outbox once more, as another process would.
func openAgain(t *testing.T, d *testOutbox) *testOutbox {
	t.Helper()
	o := open(t, filepath.Clean(d.path), outbox.Config{Clock: d.clock.now})
	return &testOutbox{Outbox: o, t: t, path: d.path, clock: d.clock}
}

func newOutbox(t testing.TB, users ...string) *testOutbox {
	t.Helper()
	d := &testOutbox{t: t, path: filepath.Join(t.TempDir(), "outbox.db"), clock: newClock()}
	if len(users) == 0 {
		users = []string{"dr.a"}
	}
	ok(t, os.WriteFile(d.path, template(t, users), 0o600))
	d.Outbox = open(t, d.path, outbox.Config{Clock: d.clock.now, Elapsed: d.clock.elapsed()})
	return d
}

var templates sync.Map // by users: hashing a password takes its time

// template returns the file of an outbox in which users may sign for study.
func template(t testing.TB, users []string) []byte {
	t.Helper()
	key := strings.Join(users, " ")
	if file, made := templates.Load(key); made {
		return file.([]byte)
	}
	path := filepath.Join(t.TempDir(), "template.db")
	o := must(outbox.Open(t.Context(), path, outbox.Config{Clock: newClock().now}))(t)
	for _, u := range users {
		ok(t, accountstest.AddPI(t.Context(), o.Accounts(), operator, u, "Printed "+u, []string{study}, password))
	}
	ok(t, o.Close())
	file := must(os.ReadFile(path))(t)
	templates.Store(key, file)
	return file
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return value
	}
}

func assessment(id string, number, caseRevision, revision int32) events.Assessment {
	return events.Assessment{
		ID: id, Study: study, SponsorStudy: "C3861001", TrialName: study, Criteria: events.Criteria,
		Case: events.Case{ID: number, Revision: caseRevision}, Revision: revision,
		Name: "Follow-up 2", Timepoint: 2, Subject: fmt.Sprintf("subject-%d", number), Effective: "2006-10-13T09:31:24",
		Measurement: &events.Measurement{
			Type: events.MeasurementType, Value: "37.6", Unit: events.Unit,
			ChangeFromPrevious: "-12.0 mm", ChangeFromBaseline: "-42.3 mm", ChangeFromNadir: "-12.0 mm",
		},
		Conclusion: "Partial Response",
	}
}

func withLesions(a events.Assessment, ids ...string) events.Assessment {
	for _, id := range ids {
		a.Lesions = append(a.Lesions, events.Lesion{ID: id, Category: "Target", State: "Present", Value: "12.5", Unit: events.Unit, Modality: "CT"})
	}
	return a
}

// register registers assessments and wants each taken.
func (d *testOutbox) register(assessments ...events.Assessment) {
	d.t.Helper()
	for i, r := range d.submit(assessments...) {
		if r.Err != nil || r.Outcome != outbox.Taken {
			d.t.Fatalf("assessment %s: %q, %v", assessments[i].ID, r.Outcome, r.Err)
		}
	}
}

// lowerPairs are those that cannot follow case revision 2, revision 5.
var lowerPairs = [][2]int32{{2, 4}, {1, 5}, {1, 6}, {3, 4}}

// letWait lets a version wait as programs did that took it whatever was signed.
func (d *testOutbox) letWait(a events.Assessment) {
	d.t.Helper()
	content := must(json.Marshal(a))(d.t)
	_, err := d.DB().Writer.Exec(`
		insert into versions (assessment, case_revision, revision, time, registrar, content)
		values (?, ?, ?, ?, ?, ?)`, a.ID, a.Case.Revision, a.Revision, events.FormatTime(d.clock.now()), source, string(content))
	ok(d.t, err)
	_, err = d.DB().Writer.Exec(`update assessments set waiting = (select max(row) from versions) where id = ?`, a.ID)
	ok(d.t, err)
}

func (d *testOutbox) submit(assessments ...events.Assessment) []outbox.RegisterResult {
	d.t.Helper()
	batch := make([]events.Submission, len(assessments))
	for i, a := range assessments {
		batch[i].Assessment = a
	}
	return must(d.Register(d.t.Context(), source, batch))(d.t)
}

func (d *testOutbox) signAs(user string, ids ...string) ([]outbox.Signed, error) {
	return d.SignOff(d.t.Context(), outbox.SignOff{User: user, Meaning: meaning, IDs: ids})
}

func (d *testOutbox) sign(ids ...string) []outbox.Signed {
	d.t.Helper()
	return must(d.signAs("dr.a", ids...))(d.t)
}

func (d *testOutbox) withdrawAs(user, id, reason string) (outbox.Signed, error) {
	return d.Withdraw(d.t.Context(), outbox.Withdrawal{User: user, ID: id, Meaning: withdrawing, Reason: reason})
}

// all returns every event of the outbox in commit order.
func all(t testing.TB, o *outbox.Outbox) []events.Event {
	t.Helper()
	entries := must(o.Source().Pending(t.Context(), 1_000_000))(t)
	out := make([]events.Event, len(entries))
	for i, e := range entries {
		out[i] = e.Event
	}
	return out
}

// published returns the events of real studies as "kind subject".
func (d *testOutbox) published() []string {
	d.t.Helper()
	var out []string
	for _, e := range all(d.t, d.Outbox) {
		if !events.InternalStudy(e.Study) {
			out = append(out, short(e))
		}
	}
	return out
}

func short(e events.Event) string {
	words := map[events.Kind]string{
		events.ReportSigned: "signed", events.ReportAmended: "amended", events.ReportSuperseded: "superseded",
		events.ReportWithdrawn: "withdrawn", events.ObservationsSigned: "observations",
		events.AccessPartner: "partner", events.AccessKey: "key", events.AccessAudited: "audited",
		events.AccessGranted: "granted", events.AccessRevoked: "revoked",
	}
	id, version, isReport := e.ReportID()
	if !isReport {
		return words[e.Kind()] + " " + e.Subject
	}
	return fmt.Sprintf("%s %s/%d", words[e.Kind()], id, version)
}

// follow checks numbers, hashes and times of all studies.
func follow(t testing.TB, all []events.Event) {
	t.Helper()
	heads := make(map[string]events.ChainHead)
	times := make(map[string]time.Time)
	for _, e := range all {
		next, err := heads[e.Study].Follow(e)
		ok(t, err)
		ok(t, e.Validate())
		if !e.Time.After(times[e.Study]) {
			t.Fatalf("event %d of %s does not come after the one before", e.Number, e.Study)
		}
		heads[e.Study], times[e.Study] = next, e.Time
	}
}
