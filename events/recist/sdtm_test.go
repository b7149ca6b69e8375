package recist_test

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

const sdtmData = "../../outbox/intake/sdtm/testdata"

// noVisits is a registry without assessments.
type noVisits struct{}

func (noVisits) Visits(context.Context, string) ([]events.KnownVisit, error) { return nil, nil }

func (noVisits) VisitsByID(context.Context, []string) (map[string]events.KnownVisit, error) {
	return nil, nil
}

// wholeSet returns the files of the SDTM set that the importer is tested with.
func wholeSet(t *testing.T) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range []string{"tr.csv", "tu.csv", "rs.csv"} {
		f, err := os.Open(filepath.Join(sdtmData, name+".gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

// visitOf identifies a visit in the files. Date is empty but for the visit that the set
// has twice.
type visitOf struct{ subject, number, date string }

// imported returns the assessments by case, and the visit of each by assessment id.
func imported(t *testing.T, files fs.FS) (map[int32][]events.Assessment, map[string]visitOf) {
	t.Helper()
	cases, visits := map[int32][]events.Assessment{}, map[string]visitOf{}
	err := sdtm.ReadFrom(t.Context(), files, "", sdtm.Options{}, noVisits{}, func(r intake.Record) error {
		if r.Err == nil {
			a := r.Submission.Assessment
			cases[a.Case.ID] = append(cases[a.Case.ID], a)
			visits[a.ID] = visitOf{a.Subject, r.Submission.Visit.Number, r.Submission.Visit.Date}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return cases, visits
}

// recordedParts are the responses that rs.csv has of a visit, by RSTESTCD.
type recordedParts map[string]string

// responsesOf returns the responses in rs.csv by visit. Of the visit that is there twice,
// the date tells which is which.
func responsesOf(t *testing.T, files fstest.MapFS, twice visitOf) map[visitOf]recordedParts {
	t.Helper()
	f, err := files.Open("rs.csv")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	out := map[visitOf]recordedParts{}
	for _, row := range rows[1:] {
		v := visitOf{subject: row[column["USUBJID"]], number: row[column["VISITNUM"]]}
		if v == twice {
			v.date = row[column["RSDTC"]]
		}
		if out[v] == nil {
			out[v] = recordedParts{}
		}
		out[v][row[column["RSTESTCD"]]] = row[column["RSSTRESC"]]
	}
	return out
}

// terms maps the terms of SDTM to responses. NED, no disease, is compared as none.
var terms = map[string]recist.Response{
	"CR": recist.CR, "PR": recist.PR, "SD": recist.SD, "PD": recist.PD, "NE": recist.NE, "NON-CR/NON-PD": recist.NonCRNonPD, "": recist.None, "NED": recist.None,
}

// splitVisit is the one visit that the set has twice, on two dates.
var splitVisit = visitOf{subject: "01-711-1143", number: "9.2"}

// fromBaseline returns the response of the targets at a visit if the baseline's sum is
// taken for the nadir.
func fromBaseline(baseline, visit events.Assessment) recist.Response {
	visit.Timepoint, visit.Name = 1, events.FollowUp(1)
	return recist.Check([]events.Assessment{baseline, visit})[1].Target
}

// The set records responses of its own. It measures progression of the targets from the
// baseline, not from the nadir, and has responses of targets of which one is NOT DONE.
// Everything else agrees.
func TestTheWholeSetOfSDTM(t *testing.T) {
	files := wholeSet(t)
	cases, visits := imported(t, files)
	rs := responsesOf(t, files, splitVisit)
	got := map[string]int{}
	var others []string // visits that differ for no reason that the set as a whole has
	small := map[int32]bool{}
	for number, assessments := range cases {
		for i, v := range recist.Check(assessments) {
			got["assessments"]++
			for _, f := range v.Findings {
				got["finding "+f.Code]++
				if f.Code == "target-small" || f.Code == "node-small" {
					got["lesions of "+f.Code] += len(f.Lesions)
					small[number] = true
				}
			}
			for _, l := range assessments[i].Lesions {
				if i == 0 && l.Category == "Target" {
					got["targets at baselines"]++
				}
			}
			if i == 0 {
				continue
			}
			got["follow-ups"]++
			if len(v.Admissible) > 0 {
				got["visits with admissible others"]++
			}
			if !v.Sum.Known() && v.Target == recist.PD {
				got["progression by a lower bound, recorded as "+string(v.Recorded)]++
			}
			if v.Sum.Known() && v.Nadir.Known() && v.Target != recist.CR && byWholePercent(v) != v.Target {
				got["other response if percentages were rounded"]++
			}
			is := visits[v.Assessment]
			recorded := rs[is]
			tr, nt, overall := recorded["TRGRESP"], recorded["NTRGRESP"], recorded["OVRLRESP"]
			switch want, known := terms[tr]; {
			case !known:
				t.Errorf("%v: TRGRESP %s", is, tr)
			case want == v.Target:
				got["target agrees"]++
			case v.Target == recist.PD && fromBaseline(assessments[0], assessments[i]) == want:
				got["target "+tr+", PD from the nadir"]++
			case v.Target == recist.NE && slices.ContainsFunc(assessments[i].Lesions, isNotDone):
				got["target "+tr+", NE because a target is NOT DONE"]++
			default:
				t.Errorf("%v: target response %s, not %s", is, v.Target, tr)
			}
			if terms[nt] == v.NonTarget {
				got["non-target agrees"]++
			} else {
				others = append(others, is.subject+" "+is.number+" "+is.date+": non-target")
			}
			if overall == "CHECK" {
				others = append(others, is.subject+" "+is.number+" "+is.date+": overall CHECK")
			} else {
				if terms[overall] == v.Derived {
					got["overall agrees"]++
				} else {
					got["overall "+overall+", not "+string(v.Derived)]++
				}
				got["tables compared"]++
				if recist.Overall(terms[tr], terms[nt], v.New) == terms[overall] {
					got["tables agree"]++
				}
			}
		}
	}
	got["cases with small targets"] = len(small)
	want := map[string]int{
		"assessments": 887, "follow-ups": 633,
		"target agrees": 558, "target SD, PD from the nadir": 36, "target PR, PD from the nadir": 19,
		"target PR, NE because a target is NOT DONE": 11, "target SD, NE because a target is NOT DONE": 9,
		"non-target agrees": 632, "tables compared": 632, "tables agree": 632,
		"overall agrees":                      597,
		"overall SD, not Progressive Disease": 18, "overall PR, not Progressive Disease": 9, // from the nadir
		"overall PR, not Not Evaluable": 6, "overall SD, not Not Evaluable": 2, // a target is NOT DONE
		"progression by a lower bound, recorded as Progressive Disease": 2,
		"other response if percentages were rounded":                    8,

		"finding overall-differs": 35, "visits with admissible others": 98,
		"finding pd-earlier": 94, "finding continued-pr": 5, "finding missing-target-argued": 1,
		"finding equivocal-new": 27, "finding not-all-evaluated": 88, "finding markers-unknown": 57, "finding response-undefined": 1,

		"targets at baselines": 1270, "cases with small targets": 168,
		"finding target-small": 110, "lesions of target-small": 241, "finding node-small": 143, "lesions of node-small": 143,
	}
	// One visit has records that do not agree with each other: its overall response is
	// CHECK, and it has no response of the non-targets. On its other date it agrees.
	split := splitVisit.subject + " " + splitVisit.number + " 2013-06-22: "
	slices.Sort(others)
	if diff := cmp.Diff([]string{split + "non-target", split + "overall CHECK"}, others); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func isNotDone(l events.Lesion) bool { return l.Category == "Target" && l.State == "Not evaluable" }

// byWholePercent returns the response of the targets as a program that rounds to whole
// percentages would have it.
func byWholePercent(v recist.Visit) recist.Response {
	sum, baseline, nadir := rat(v.Sum), rat(v.Baseline), rat(v.Nadir)
	growth := new(big.Rat).Sub(sum, nadir)
	whole := func(from *big.Rat) int {
		change := new(big.Rat).Sub(sum, from)
		change.Quo(change, from)
		n, err := strconv.Atoi(change.Mul(change, big.NewRat(100, 1)).FloatString(0))
		if err != nil {
			panic(err)
		}
		return n
	}
	switch {
	case growth.Cmp(big.NewRat(5, 1)) >= 0 && (nadir.Sign() == 0 || whole(nadir) >= 20):
		return recist.PD
	case whole(baseline) <= -30:
		return recist.PR
	default:
		return recist.SD
	}
}

// The small sets record a partial response at 40 of 50 mm, which is -20 % only. They have
// no other contradiction.
func TestTheSmallSetsOfSDTM(t *testing.T) {
	folders, err := os.ReadDir(filepath.Join(sdtmData, "cases"))
	if err != nil {
		t.Fatal(err)
	}
	const why = "Partial Response is recorded, RECIST 1.1 gives Stable Disease: the sum is 40 mm, -20.0 % from the baseline's 50 mm"
	expected := map[string]bool{
		"S01a": true, "S01c": true, "S05b": true, "S07a": true, "S08b": true, "S10a": true, "S17": true, "S18a": true, "S18c": true,
		"S28a": true, "S28c": true, "S50a-1": true,
	}
	for _, folder := range folders {
		cases, _ := imported(t, os.DirFS(filepath.Join(sdtmData, "cases", folder.Name())))
		contradicts := false
		for _, assessments := range cases {
			for _, v := range recist.Check(assessments) {
				for _, f := range v.Findings {
					if f.Level != recist.Contradiction {
						continue
					}
					contradicts = true
					if f.Text != why {
						t.Errorf("%s: %s", folder.Name(), f.Text)
					}
				}
			}
		}
		if contradicts != expected[folder.Name()] {
			t.Errorf("%s contradicts: %t", folder.Name(), contradicts)
		}
	}
}
