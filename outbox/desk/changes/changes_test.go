package changes_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/changes"
)

func number(n int32) *int32 { return &n }

// full returns an assessment with all fields.
func full() events.Assessment {
	return events.Assessment{
		ID: "790", Study: "FHIR-T", SponsorStudy: "C3861001", TrialName: "FHIR-T", Criteria: "RECIST 1.1",
		Case: events.Case{ID: 163, Revision: 5}, Revision: 1, RevisionDate: "2006-10-20", Name: events.FollowUp(1), Timepoint: 1,
		Subject: "10081007", Effective: "2006-10-13", Conclusion: "Stable Disease",
		Measurement: &events.Measurement{
			Type: events.MeasurementType, Value: "41.5", Unit: events.Unit,
			ChangeFromPrevious: "-12.0 mm", ChangeFromBaseline: "-12.0 mm", ChangeFromNadir: "-12.0 mm",
		},
		Lesions: []events.Lesion{
			{
				ID: "T01", Category: "Target", Organ: "Lung", State: "Present", Value: "17.5", Unit: events.Unit, Modality: "CT", Label: "Long axis",
				SeriesNumber: number(2), SeriesDescription: "Standard 5mm", InstanceNumber: number(26), ChangeFromPrevious: "--", ChangeFromBaseline: "--", ChangeFromNadir: "--",
			},
			{ID: "T02", Category: "Target", Organ: "Liver", State: "Present", Value: "24.0", Unit: events.Unit},
			{ID: "NT01", Category: "Non-target", State: "Present"},
		},
	}
}

func TestDifferences(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(a *events.Assessment)
		want   []string
	}{
		{"only the numbers of the version", func(a *events.Assessment) { a.Case.Revision, a.Revision = 6, 2 }, nil},
		{"a diameter with the sum and its changes", func(a *events.Assessment) {
			a.Lesions[1].Value = "24.5"
			a.Measurement.Value, a.Measurement.ChangeFromPrevious, a.Measurement.ChangeFromNadir = "42.0", "-11.5 mm", "-11.5 mm"
		}, []string{"T02 24.0 → 24.5 mm", "sum 41.5 → 42.0 mm", "change from previous −12.0 mm → −11.5 mm, from nadir −12.0 mm → −11.5 mm"}},
		{"the digits of a value", func(a *events.Assessment) { a.Lesions[1].Value = "24.00" }, []string{"T02 24.0 → 24.00 mm"}},
		{"a lesion that disappeared", func(a *events.Assessment) {
			a.Lesions[1].Value, a.Lesions[1].Unit, a.Lesions[1].State = "", "", "Disappeared"
		}, []string{"T02 24.0 mm → none, Present → Disappeared"}},
		{"a value that was not there", func(a *events.Assessment) {
			a.Lesions[2].Value, a.Lesions[2].Unit = "1E1", events.Unit
		}, []string{"NT01 none → 1E1 mm"}},
		{"lesions that were added and removed", func(a *events.Assessment) {
			a.Lesions = append(a.Lesions[:1], events.Lesion{ID: "N01", Category: "New lesion", Organ: "Bone", State: "Present"}, events.Lesion{ID: "N02"})
		}, []string{"N01 added: New lesion, Bone, Present", "N02 added: nothing recorded", "T02 removed: Target, Liver, 24.0 mm, Present", "NT01 removed: Non-target, Present"}},
		{"the order of lesions", func(a *events.Assessment) { a.Lesions[0], a.Lesions[1] = a.Lesions[1], a.Lesions[0] }, nil},
		{"all else of a lesion", func(a *events.Assessment) {
			l := &a.Lesions[0]
			l.Category, l.Organ, l.Label, l.Modality, l.SeriesNumber, l.SeriesDescription, l.InstanceNumber = "Non-target", "Brain", "Short axis", "MR", nil, "Thin", number(27)
			l.ChangeFromPrevious, l.ChangeFromBaseline, l.ChangeFromNadir = "0.0 mm", "-1.0 mm", "+1.0 mm"
		}, []string{"T01 category Target → Non-target, organ Lung → Brain, label Long axis → Short axis, modality CT → MR, series 2 → none, " +
			"series description Standard 5mm → Thin, instance 26 → 27, change from previous -- → 0.0 mm, change from baseline -- → −1.0 mm, change from nadir -- → +1.0 mm"}},
		{"no sum any more", func(a *events.Assessment) { a.Measurement = nil }, []string{"sum 41.5 mm → none"}},
		{"the conclusion, the subject and the date", func(a *events.Assessment) {
			a.Conclusion, a.Subject, a.Effective = "Progressive Disease", "10081008", "2006-10-14"
		}, []string{"subject 10081007 → 10081008", "conclusion Stable Disease → Progressive Disease", "date 2006-10-13 → 2006-10-14"}},
		{"what else an assessment has", func(a *events.Assessment) {
			a.Name, a.Timepoint, a.RevisionDate, a.Study, a.SponsorStudy, a.TrialName, a.Case.ID, a.Criteria = events.FollowUp(2), 2, "", "F", "S", "T", 164, "other"
		}, []string{"visit Follow-up 1 → Follow-up 2", "timepoint 1 → 2", "revision date 2006-10-20 → none", "study FHIR-T → F", "sponsor’s study C3861001 → S", "trial name FHIR-T → T", "case 163 → 164", "criteria RECIST 1.1 → other"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			after := full()
			c.change(&after)
			if diff := cmp.Diff(c.want, changes.Between(full(), after)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A field that is added to the assessment is compared too.
func TestEveryFieldIsCompared(t *testing.T) {
	for _, path := range fields(reflect.ValueOf(full()), "") {
		if path == ".ID" || path == ".Case.Revision" || path == ".Revision" {
			continue // of the version, not of what it says
		}
		after := full()
		after.Lesions = append([]events.Lesion{}, after.Lesions...)
		alter(reflect.ValueOf(&after).Elem(), path, "")
		if got := changes.Between(full(), after); len(got) == 0 {
			t.Errorf("%s differs, and nothing is said", path)
		}
	}
}

// fields returns the paths of all fields that are no structs.
func fields(v reflect.Value, path string) (paths []string) {
	switch v.Kind() {
	case reflect.Pointer:
		return fields(v.Elem(), path)
	case reflect.Slice:
		return fields(v.Index(0), path)
	case reflect.Struct:
		for i := range v.NumField() {
			paths = append(paths, fields(v.Field(i), path+"."+v.Type().Field(i).Name)...)
		}
		return paths
	}
	return []string{path}
}

// alter changes the field with the path.
func alter(v reflect.Value, path, at string) {
	switch v.Kind() {
	case reflect.Pointer:
		alter(v.Elem(), path, at)
	case reflect.Slice:
		alter(v.Index(0), path, at)
	case reflect.Struct:
		for i := range v.NumField() {
			alter(v.Field(i), path, at+"."+v.Type().Field(i).Name)
		}
	case reflect.String:
		if at == path {
			v.SetString("changed")
		}
	case reflect.Int32:
		if at == path {
			v.SetInt(99)
		}
	}
}

func ExampleBetween() {
	before := events.Assessment{Conclusion: "Stable Disease", Lesions: []events.Lesion{{ID: "T02", Value: "24.0", Unit: events.Unit}}}
	after := before
	after.Lesions = []events.Lesion{{ID: "T02", Value: "24.5", Unit: events.Unit}}
	fmt.Println(changes.Between(before, after))
	// Output: [T02 24.0 → 24.5 mm]
}
