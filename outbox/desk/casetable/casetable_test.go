package casetable_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/casetable"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

var update = flag.Bool("update", false, "write the golden files anew")

// caseOf returns a case with these assessments, of which the first are signed.
func caseOf(assessments []events.Assessment, signed int) review.Case {
	c := review.Case{Study: desktest.Study, Number: 71, Subject: assessments[0].Subject}
	for i, a := range assessments {
		v := version(a, int64(i+1))
		if i < signed {
			c.Visits = append(c.Visits, review.Visit{ID: a.ID, Signed: sign(v)})
			c.Revision = max(c.Revision, a.Case.Revision)
		} else {
			v.State = review.VersionWaiting
			c.Visits = append(c.Visits, review.Visit{ID: a.ID, Waiting: v})
		}
	}
	return c
}

func version(a events.Assessment, registration int64) *review.Version {
	return &review.Version{Waiting: review.Waiting{Assessment: a, Registration: registration, Registered: time.Date(2014, 2, 7, 8, 13, 0, 0, time.UTC), By: "tumor-db"}}
}

func sign(v *review.Version) *review.Version {
	v.State, v.Available = review.VersionSigned, true
	v.Signature = &events.Signature{User: desktest.User, Name: desktest.Name, Meaning: desktest.Meaning, Time: time.Date(2014, 2, 8, 9, 0, 0, 0, time.UTC)}
	return v
}

// text returns a table as text, a line for each row.
func text(t casetable.Table) string {
	var b strings.Builder
	for _, c := range t.Columns {
		fmt.Fprintf(&b, "| %s %s, %s, %s%s", c.ID, c.Name, c.Date, c.Version, map[bool]string{true: ", chosen"}[c.Chosen])
		fmt.Fprintf(&b, ", %s", c.State)
		for _, s := range []string{c.Since, c.Earlier} {
			if s != "" {
				fmt.Fprintf(&b, ", %s", s)
			}
		}
		b.WriteByte('\n')
	}
	for _, s := range t.Sections {
		fmt.Fprintf(&b, "\n%s\n", s.Heading)
		if len(s.Rows) == 0 {
			fmt.Fprintf(&b, "  %s\n", s.None)
		}
		for _, r := range s.Rows {
			fmt.Fprintf(&b, "  %s", strings.Join(strings.Fields(r.ID+" "+r.Name+" "+r.Detail), " "))
			for _, c := range r.Cells {
				fmt.Fprintf(&b, " | %s%s", c.Text, c.Response)
				if c.Tone != "" {
					fmt.Fprintf(&b, " [%s]", c.Tone)
				}
				if c.Change != "" {
					fmt.Fprintf(&b, " (%s)", c.Change)
				}
				for _, n := range c.Notes {
					fmt.Fprintf(&b, " {%s}", n.Text)
				}
				if c.Changed {
					fmt.Fprintf(&b, " <was %s>", c.Was)
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// golden compares a text with that of a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("differs from %s: %s", file, diff)
	}
}

func TestTablesOfTheSamples(t *testing.T) {
	for _, s := range desktest.Samples() {
		t.Run(s.Name, func(t *testing.T) {
			c := caseOf(s.Assessments, s.Sign)
			var chosen []string
			for _, v := range c.Visits {
				if v.Waiting != nil && chosen == nil {
					chosen = []string{v.ID}
				}
			}
			table := casetable.New(casetable.Input{Case: c, Checked: c.Check(), Chosen: chosen})
			golden(t, s.Name, text(table))
			everyValueIsShown(t, c, table)
		})
	}
}

// everyValueIsShown fails the test unless each lesion of each visit is in the table once,
// with its value or its state.
func everyValueIsShown(t *testing.T, c review.Case, table casetable.Table) {
	t.Helper()
	for i, v := range c.Visits {
		a := c.InForce(v).Assessment
		shown := map[string]int{}
		for _, s := range table.Sections {
			for _, r := range s.Rows {
				if len(r.Cells) != len(table.Columns) {
					t.Fatalf("row %s%s has %d cells for %d columns", r.ID, r.Name, len(r.Cells), len(table.Columns))
				}
				if r.Kind == casetable.Lesion && r.Cells[i].Text != "–" && r.Cells[i].Text != "no row" && !strings.HasPrefix(r.Cells[i].Text, "in ") {
					shown[r.ID+" "+r.Cells[i].Text]++
				}
			}
		}
		for _, l := range a.Lesions {
			text := string(l.Value)
			if text == "" {
				text = l.State
			}
			if text == "" {
				text = "Recorded"
			}
			if shown[l.ID+" "+text] != 1 {
				t.Errorf("%s of %s is there %d times with %q", l.ID, a.Name, shown[l.ID+" "+text], text)
			}
		}
	}
}

func TestAVersionThatReplacesASignedOneShowsWhatChanged(t *testing.T) {
	assessments := desktest.Case71(desktest.Study)
	c := caseOf(assessments, 4)
	next := desktest.Case71(desktest.Study)[3]
	next.Revision, next.Conclusion, next.Effective = 2, "Progressive Disease", "2014-02-06"
	next.Measurement.Value = "50.5"
	next.Lesions[0].Value, next.Lesions[1].Modality = "5.5", "MR"
	next.Lesions = append(next.Lesions[:4], next.Lesions[5], events.Lesion{ID: "N01", Category: "New lesion", State: "Present"})
	c.Visits[3].Waiting = version(next, 9)
	c.Visits[3].Waiting.State = review.VersionWaiting
	table := casetable.New(casetable.Input{Case: c, Checked: c.Check(), Chosen: []string{"7103"}})
	golden(t, "revision", text(table))
	if s := table.Signatures[3]; !s.Older || s.Signed == nil || s.Waiting == nil {
		t.Errorf("the signature before is not shown: %+v", s)
	}
}

func TestVersionsThatDoNotCountAreNotComputedWith(t *testing.T) {
	c := caseOf(desktest.Case71(desktest.Study), 3)
	c.Visits[2].Signed.Withdrawal = &review.WithdrawalRecord{Signature: *c.Visits[2].Signed.Signature, Reason: "wrong scan"}
	c.Revision = 2 // so that the last visit cannot be signed
	table := casetable.New(casetable.Input{Case: c, Checked: c.Check()})
	golden(t, "not-counted", text(table))
	if got := table.Signatures[3].CannotSign; got != "it is registered for case revision 1, and the case has moved on to revision 2" {
		t.Errorf("cannot be signed because: %q", got)
	}
	if visits := casetable.Visits(c, c.Check()); len(visits) != 2 {
		t.Errorf("%d visits count", len(visits))
	}
}

func TestWhatChangedSinceAPageIsMarked(t *testing.T) {
	before := caseOf(desktest.Case71(desktest.Study), 1)
	seen := casetable.Seen(before)
	now := caseOf(desktest.Case71(desktest.Study), 2)
	again := desktest.Case71(desktest.Study)[2]
	again.Lesions[0].Value, again.Measurement.Value = "5.5", "40.5"
	now.Visits[2].Waiting = version(again, 9)
	now.Visits[0].Signed.Withdrawal = &review.WithdrawalRecord{Reason: "wrong scan"}
	extra := desktest.Case71(desktest.Study)[3]
	extra.ID, extra.Name, extra.Timepoint = "7104", events.FollowUp(4), 4
	now.Visits = append(now.Visits[:3], review.Visit{ID: "7104", Waiting: version(extra, 10)})
	since, err := casetable.NewSince(now, seen, func(id string) ([]review.Version, error) {
		for _, v := range before.Visits {
			if v.ID == id {
				if v.Waiting != nil {
					return []review.Version{*v.Waiting}, nil
				}
				return []review.Version{*v.Signed}, nil
			}
		}
		return nil, fmt.Errorf("assessment %s was not shown", id)
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"7103"}, since.Gone); diff != "" {
		t.Error(diff)
	}
	foreign := again
	foreign.Study = desktest.Other
	elsewhere, err := casetable.NewSince(now, seen, func(string) ([]review.Version, error) {
		return []review.Version{*version(foreign, before.Visits[2].Waiting.Registration)}, nil
	})
	if err != nil || len(elsewhere.Shown) > 0 {
		t.Errorf("a version of another study is compared with: %v %v", elsewhere.Shown, err)
	}
	golden(t, "since", text(casetable.New(casetable.Input{Case: now, Checked: now.Check(), Since: since})))
	for _, malformed := range []string{"", "x", "7100:1:2", "7100:a:b:c", strings.Repeat(":", 50)} {
		if since, err := casetable.NewSince(now, malformed, nil); err != nil || len(since.Texts) > 0 {
			t.Errorf("%q: %v %v", malformed, since, err)
		}
	}
}

func TestLesionsAreSortedByTheNumbersInTheirIDs(t *testing.T) {
	a := desktest.Case71(desktest.Study)[0]
	a.Measurement, a.Lesions = nil, nil
	for _, id := range []string{"T10", "T2", "T02", "T1/T2", "t1", "T1.2", "T1", "T1.10"} {
		a.Lesions = append(a.Lesions, events.Lesion{ID: id, Category: "Target", State: "Present"})
	}
	c := caseOf([]events.Assessment{a}, 0)
	var got []string
	for _, r := range casetable.New(casetable.Input{Case: c, Checked: c.Check()}).Sections[0].Rows {
		if r.ID != "" { // not the sum
			got = append(got, r.ID)
		}
	}
	if diff := cmp.Diff([]string{"T1", "T1.2", "T1.10", "T1/T2", "T02", "T2", "T10", "t1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhyAVersionCannotBeSigned(t *testing.T) {
	c := caseOf(desktest.Case71(desktest.Study)[:2], 1)
	if got := c.CannotSign(c.Visits[1]); got != "" {
		t.Errorf("one that can be signed: %q", got)
	}
	c.Subject = "another"
	if got := c.CannotSign(c.Visits[1]); got != "it is registered for subject 01-704-1127, and the case is of subject another" {
		t.Errorf("of another subject: %q", got)
	}
	c = caseOf(desktest.Case71(desktest.Study)[:1], 1)
	c.Visits[0].Waiting = version(desktest.Case71(desktest.Study)[0], 2)
	if got := c.CannotSign(c.Visits[0]); got != "it is registered as case revision 1, revision 1, which does not follow the signed case revision 1, revision 1" {
		t.Errorf("of the same revision: %q", got)
	}
}
