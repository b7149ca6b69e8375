package publisher_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
)

const (
	pi      = "pi"
	meaning = "I have reviewed and approve this assessment"
)

// queue is the outbox as the relay reads it.
type queue = outbox.Source

// testOutbox is an outbox with one PI, who may sign for the studies A and B.
type testOutbox struct {
	*outbox.Outbox
	*queue
	t    testing.TB
	path string

	mu   sync.Mutex
	next int // the last case and assessment
}

func newOutbox(t testing.TB) *testOutbox {
	t.Helper()
	b := openOutbox(t, filepath.Join(t.TempDir(), "outbox.db"))
	if err := accountstest.AddPI(t.Context(), b.Accounts(), "test", pi, "Printed Name", []string{"A", "B"}, "a long enough password"); err != nil {
		t.Fatal(err)
	}
	return b
}

func openOutbox(t testing.TB, path string) *testOutbox {
	t.Helper()
	o, err := outbox.Open(t.Context(), path, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return &testOutbox{Outbox: o, queue: o.Source(), t: t, path: path}
}

// add signs n assessments of a study in one transaction: n events.
func (b *testOutbox) add(study string, n int) { b.sign(study, n, 0) }

// addLarge signs an assessment with the most lesions: two events, of about
// 640 and 120 KB.
func (b *testOutbox) addLarge(study string) { b.sign(study, 1, 500) }

func (b *testOutbox) sign(study string, n, lesions int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	number := int32(b.next)
	var batch []events.Submission
	var ids []string
	for range n {
		b.next++
		a := assessment(study, fmt.Sprintf("%s-%d", study, b.next), number, lesions)
		batch, ids = append(batch, events.Submission{Assessment: a}), append(ids, a.ID)
	}
	results, err := b.Register(context.Background(), "test", batch)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			b.t.Fatal(r.Err)
		}
	}
	if _, err := b.SignOff(context.Background(), outbox.SignOff{User: pi, Meaning: meaning, IDs: ids}); err != nil {
		b.t.Fatal(err)
	}
}

// newer appends an event of a kind that only a newer program knows, as that would,
// to a study that has events.
func (b *testOutbox) newer(kind events.Kind, study string) {
	b.t.Helper()
	err := b.DB().Update(context.Background(), func(tx *sqlx.Tx) error {
		var row int64
		var head events.ChainHead
		var last string
		if err := tx.QueryRow(`select row, sequence, hash, time from studies where token = ?`, study).Scan(&row, &head.Number, &head.Hash, &last); err != nil {
			return err
		}
		at, err := events.ParseTime(last)
		if err != nil {
			return err
		}
		e := events.Event{
			ID: uuid.Must(uuid.NewV7()).String(), Source: events.DefaultNamespace.Source(study), Type: events.DefaultNamespace.Type(kind),
			Subject: "Basic/1", Time: at.Add(time.Microsecond), DataContentType: kind.MediaType(), Study: study, PartitionKey: study, Data: []byte("{}"),
		}
		e.Seal(head)
		if err := e.Validate(); err != nil {
			return err
		}
		at = e.Time
		_, err = tx.Exec(`
			insert into events (study, sequence, kind, id, subject, time, partitionkey, previoushash, hash, traceparent, data)
			values (?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?)`,
			row, int64(e.Number), string(kind), e.ID, e.Subject, events.FormatTime(at), e.PartitionKey, e.PreviousHash, e.Hash, e.Data)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update studies set sequence = ?, hash = ?, time = ? where row = ?`, int64(e.Number), e.Hash, events.FormatTime(at), row)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Wake()
}

func assessment(study, id string, number int32, lesions int) events.Assessment {
	a := events.Assessment{
		ID: id, Study: study, SponsorStudy: "C3861001", TrialName: study, Criteria: events.Criteria,
		Case: events.Case{ID: number, Revision: 1}, Revision: 1, RevisionDate: "2006-10-20",
		Name: events.FollowUp(2), Timepoint: 2, Subject: "10081007", Effective: "2006-10-13T09:31:24",
		Measurement: &events.Measurement{Type: events.MeasurementType, Value: "37.6", Unit: events.Unit,
			ChangeFromPrevious: "-12.0 mm", ChangeFromBaseline: "-42.3 mm", ChangeFromNadir: "-12.0 mm"},
		Conclusion: "Partial Response",
	}
	for i := range lesions {
		a.Lesions = append(a.Lesions, events.Lesion{ID: fmt.Sprintf("T%03d", i), Category: "Target", Organ: strings.Repeat("Lung ", 20) + "Lung",
			State: "Present", Value: "12.5", Unit: events.Unit, Modality: "CT"})
	}
	return a
}

// published returns the entries with stream sequences, in their order.
func (b *testOutbox) published() []events.Entry {
	b.t.Helper()
	all, err := b.Source().Recorded(context.Background(), 1, 1_000_000)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// parked says why a study is parked; empty if it is not.
func (b *testOutbox) parked(study string) string {
	b.t.Helper()
	all, err := b.Parked(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range all {
		if p.Study == study {
			return p.Reason
		}
	}
	return ""
}

// backup returns a copy as of now.
func (b *testOutbox) backup() *testOutbox {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	path := filepath.Join(b.t.TempDir(), "outbox.db")
	if _, err := b.DB().Reader.Exec(`vacuum into ?`, path); err != nil {
		b.t.Fatal(err)
	}
	c := openOutbox(b.t, path)
	c.next = b.next
	return c
}
