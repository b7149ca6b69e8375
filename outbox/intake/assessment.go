package intake

import (
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// readAssessment reads the JSON form of an assessment, normalises and validates it.
// The error is a *Refusal.
func readAssessment(p piece) (events.Assessment, error) {
	var a events.Assessment
	err := strictjson.Read(p.raw, func(r *strictjson.Reader) error { return readObject(r, assessmentMembers(&a)) })
	if err != nil {
		return events.Assessment{}, p.refusal(err)
	}
	a.Normalize()
	if err := a.Validate(); err != nil {
		return events.Assessment{}, p.refusal(err)
	}
	return a, nil
}

// assessmentMembers returns the members of an assessment, which are read into a.
func assessmentMembers(a *events.Assessment) []member {
	return []member{
		required("id", text(&a.ID)),
		required("study", text(&a.Study)),
		required("sponsorStudy", text(&a.SponsorStudy)),
		required("trialName", text(&a.TrialName)),
		required("criteria", text(&a.Criteria)),
		required("case", func(r *strictjson.Reader) error {
			return readObject(r, []member{required("id", integer(&a.Case.ID)), required("revision", integer(&a.Case.Revision))})
		}),
		required("revision", integer(&a.Revision)),
		optional("revisionDate", text(&a.RevisionDate)),
		required("name", text(&a.Name)),
		required("timepoint", integer(&a.Timepoint)),
		required("subject", text(&a.Subject)),
		required("effective", text(&a.Effective)),
		optional("measurement", func(r *strictjson.Reader) error {
			a.Measurement = new(events.Measurement)
			return readObject(r, measurementMembers(a.Measurement))
		}),
		optional("lesions", func(r *strictjson.Reader) error {
			_, err := r.Array(func(int) error {
				var l events.Lesion
				err := readObject(r, lesionMembers(&l))
				a.Lesions = append(a.Lesions, l)
				return err
			})
			return err
		}),
		required("conclusion", text(&a.Conclusion)),
	}
}

func measurementMembers(m *events.Measurement) []member {
	return []member{
		required("type", text(&m.Type)),
		required("value", decimal(&m.Value)),
		required("unit", text(&m.Unit)),
		required("changeFromPrevious", text(&m.ChangeFromPrevious)),
		required("changeFromBaseline", text(&m.ChangeFromBaseline)),
		required("changeFromNadir", text(&m.ChangeFromNadir)),
	}
}

func lesionMembers(l *events.Lesion) []member {
	return []member{
		required("id", text(&l.ID)),
		optional("category", text(&l.Category)),
		optional("organ", text(&l.Organ)),
		optional("state", text(&l.State)),
		optional("value", decimal(&l.Value)),
		optional("unit", text(&l.Unit)),
		optional("modality", text(&l.Modality)),
		optional("label", text(&l.Label)),
		optional("seriesNumber", optionalInteger(&l.SeriesNumber)),
		optional("seriesDescription", text(&l.SeriesDescription)),
		optional("instanceNumber", optionalInteger(&l.InstanceNumber)),
		optional("changeFromPrevious", text(&l.ChangeFromPrevious)),
		optional("changeFromBaseline", text(&l.ChangeFromBaseline)),
		optional("changeFromNadir", text(&l.ChangeFromNadir)),
	}
}

// member is one member of an object and how its value is read.
type member struct {
	name     string
	read     func(*strictjson.Reader) error
	required bool
}

func required(name string, read func(*strictjson.Reader) error) member {
	return member{name, read, true}
}
func optional(name string, read func(*strictjson.Reader) error) member {
	return member{name, read, false}
}

// readObject reads an object that has all required members and no unknown ones. It
// changes members, so a list serves for one object.
func readObject(r *strictjson.Reader, members []member) error {
	_, err := r.Object(func(name []byte) error {
		i := slices.IndexFunc(members, func(m member) bool { return m.name == string(name) })
		if i < 0 {
			return unknown(string(name), members)
		}
		members[i].required = false // only missing members remain required
		return members[i].read(r)
	})
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.required {
			return &events.Error{Code: events.Required, Field: m.name, Message: "is missing"}
		}
	}
	return nil
}

// unknown returns the error for an unknown member. It proposes the member that
// differs only in case.
func unknown(name string, members []member) error {
	for _, m := range members {
		if strings.EqualFold(m.name, name) {
			return events.Errorf(events.Invalid, "unknown member; write %s", m.name)
		}
	}
	return events.Errorf(events.Invalid, "unknown member; remove it")
}

// text reads a string that must not be empty.
func text(target *string) func(*strictjson.Reader) error {
	return func(r *strictjson.Reader) (err error) {
		if *target, err = r.Text(); err == nil && *target == "" {
			err = events.Errorf(events.Invalid, "is empty; leave out what has no value")
		}
		return err
	}
}

// integer reads an int32.
func integer(target *int32) func(*strictjson.Reader) error {
	return func(r *strictjson.Reader) (err error) {
		*target, err = r.Integer()
		return err
	}
}

// optionalInteger sets the target, which stays nil if the member is missing.
func optionalInteger(target **int32) func(*strictjson.Reader) error {
	return func(r *strictjson.Reader) error {
		*target = new(int32)
		return integer(*target)(r)
	}
}

// decimal reads a number and keeps its text.
func decimal(target *events.Decimal) func(*strictjson.Reader) error {
	return func(r *strictjson.Reader) error {
		digits, err := r.Number()
		if err != nil {
			return err
		}
		*target, err = events.ParseDecimal(digits)
		return err
	}
}
