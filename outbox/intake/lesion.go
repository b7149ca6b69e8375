package intake

import (
	"maps"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
)

const notDone = "NOT DONE"

// The codes of TRTESTCD that say something about an assessment.
const (
	testDiameter = "DIAMETER"
	testState    = "TUMSTATE"
	testSum      = "SUMDIAM"
)

// The categories that TRGRPID names.
var categories = map[string]string{"TARGET": "Target", "NON-TARGET": "Non-target", "NEW": "New lesion"}

// What TUMSTATE says of a lesion that is no target, by category.
var states = map[string]map[string]string{
	"Non-target": {"PRESENT": "Present", "ABSENT": "Disappeared", "UNEQUIVOCAL": "Uneqv. prog.", "EQUIVOCAL": "Undefined", "": ""},
	"New lesion": {"UNEQUIVOCAL": "Present", "EQUIVOCAL": "Undefined", "": ""},
}

var modalities = map[string]string{"CT SCAN": "CT", "MRI": "MR", "PET": "PT", "": ""}

// looked is what the rows of a visit say of one lesion.
type looked struct {
	category string
	rows     map[string]finding // by test
	first    finding
	diameter *sum // nil where there is none
}

// read sorts the findings of a visit by lesion and reads the numbers in them.
func (v *visit) read() {
	v.lesions = map[string]*looked{}
	for _, f := range v.findings {
		v.readDate(f)
		switch {
		case f.test == testSum:
			v.readSum(f)
		case f.lesion != "":
			v.readLesion(f)
		case f.test == testDiameter || f.test == testState:
			v.refuseValue(f.line, events.Fieldf("TRLNKID", "is missing"))
		}
	}
	v.findings = nil
}

// readDate keeps the earliest date, as text.
func (v *visit) readDate(f finding) {
	if f.date == "" {
		return
	}
	if err := events.ValidDateTime(f.date); err != nil {
		v.refuse(f.line, AsError(err, "TRDTC"))
	} else if v.effective == "" || f.date < v.effective {
		v.effective = f.date
	}
}

func (v *visit) readSum(f finding) {
	s, err := readSum(f)
	switch {
	case err != nil:
		v.refuseValue(f.line, err)
	case s == nil:
	case v.sum == nil:
		v.sum = s
	case v.sum.compare(s) != 0:
		v.refuseValue(f.line, events.Fieldf("TRSTRESC", "the sum of diameters is %s here and %s in line %d", s.text, v.sum.text, v.sum.line))
	}
}

func (v *visit) readLesion(f finding) {
	category, ok := categories[f.group]
	if !ok {
		v.refuseValue(f.line, events.Fieldf("TRGRPID", "%s is none of TARGET, NON-TARGET and NEW", Printable(f.group)))
		return
	}
	l := v.lesions[f.lesion]
	if l == nil {
		l = &looked{category: category, rows: map[string]finding{}, first: f}
		v.lesions[f.lesion] = l
	}
	if l.category != category {
		v.refuseValue(f.line, events.Fieldf("TRGRPID", "lesion %s is %s here and %s in line %d", Printable(f.lesion), category, l.category, l.first.line))
		return
	}
	if first, twice := l.rows[f.test]; twice {
		v.refuseValue(f.line, events.Fieldf("TRLNKID", "lesion %s has %s twice on one date, first in line %d", Printable(f.lesion), Printable(f.test), first.line))
		return
	}
	l.rows[f.test] = f
	if f.test != testDiameter {
		return
	}
	var err *events.Error
	if l.diameter, err = readSum(f); err != nil {
		v.refuseValue(f.line, err)
	}
}

// deciding gives the row that says how the lesion is.
func (l *looked) deciding() finding {
	code := testState
	if l.category == "Target" {
		code = testDiameter
	}
	if f, ok := l.rows[code]; ok {
		return f
	}
	return l.first
}

func (l *looked) notDone() bool { return l.deciding().status == notDone }

// state gives the state of the lesion, empty where no row says it.
func (l *looked) state() (string, *events.Error) {
	switch {
	case l.notDone():
		return "Not evaluable", nil
	case l.category == "Target" && l.diameter != nil && l.diameter.value.IsZero():
		return "Disappeared", nil
	case l.category == "Target":
		return "Present", nil
	}
	f := l.rows[testState]
	state, ok := states[l.category][f.result]
	if !ok {
		return "", events.Fieldf("TRSTRESC", "%s is no state of a lesion that is known here", Printable(f.result))
	}
	return state, nil
}

// lesionsOf gives the lesions of the assessment, by id.
func (v *visit) lesionsOf(s *subject) []events.Lesion {
	var lesions []events.Lesion
	for _, id := range slices.Sorted(maps.Keys(v.lesions)) {
		l := v.lesions[id]
		state, err := l.state()
		if err != nil {
			v.refuse(l.deciding().line, err)
		}
		out := events.Lesion{ID: id, Category: l.category, Organ: s.organs[id].name, State: state}
		if l.diameter != nil {
			out.Value, out.Unit = l.diameter.text, events.Unit
		}
		method := l.deciding().method
		if known, ok := modalities[method]; ok {
			out.Modality = known
		} else {
			out.Modality = "OT"
		}
		lesions = append(lesions, out)
	}
	return lesions
}
