package sdtm

import (
	"maps"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

const notDone = "NOT DONE"

// The codes of TRTESTCD that an assessment is made from.
const (
	testDiameter = "DIAMETER"
	testState    = "TUMSTATE"
	testSum      = "SUMDIAM"
)

// categories are the categories of lesions by TRGRPID.
var categories = map[string]string{"TARGET": "Target", "NON-TARGET": "Non-target", "NEW": "New lesion"}

// states are the states of lesions that are no targets, by category and
// TUMSTATE.
var states = map[string]map[string]string{
	"Non-target": {"PRESENT": "Present", "ABSENT": "Disappeared", "UNEQUIVOCAL": "Uneqv. prog.", "EQUIVOCAL": "Undefined", "": ""},
	"New lesion": {"UNEQUIVOCAL": "Present", "EQUIVOCAL": "Undefined", "": ""},
}

// modalities are the DICOM modalities by TRMETHOD; any other method is OT.
var modalities = map[string]string{"CT SCAN": "CT", "MRI": "MR", "PET": "PT", "": ""}

// lesionRows is the rows of one lesion at a visit.
type lesionRows struct {
	category string
	byTest   map[string]result
	first    result
	diameter *length // nil where there is none
}

// addLesion adds a row to the rows of its lesion.
func (v *visit) addLesion(r result) {
	category, ok := categories[r.group]
	if !ok {
		v.refuseValue(r.line, events.Fieldf("TRGRPID", "%s is none of TARGET, NON-TARGET and NEW", intake.Printable(r.group)))
		return
	}
	l := v.lesions[r.lesion]
	if l == nil {
		l = &lesionRows{category: category, byTest: map[string]result{}, first: r}
		v.lesions[r.lesion] = l
	}
	if l.category != category {
		v.refuseValue(r.line, events.Fieldf("TRGRPID", "lesion %s is %s here and %s in line %d",
			intake.Printable(r.lesion), category, l.category, l.first.line))
		return
	}
	if first, twice := l.byTest[r.test]; twice {
		v.refuseValue(r.line, events.Fieldf("TRLNKID", "lesion %s has %s twice on one date, first in line %d",
			intake.Printable(r.lesion), intake.Printable(r.test), first.line))
		return
	}
	l.byTest[r.test] = r
	if r.test != testDiameter {
		return
	}
	var err *events.Error
	if l.diameter, err = readLength(r); err != nil {
		v.refuseValue(r.line, err)
	}
}

// deciding returns the row that decides the state of the lesion.
func (l *lesionRows) deciding() result {
	test := testState
	if l.category == "Target" {
		test = testDiameter
	}
	if r, ok := l.byTest[test]; ok {
		return r
	}
	return l.first
}

func (l *lesionRows) notDone() bool { return l.deciding().status == notDone }

// state returns the state of the lesion, empty where no row has one.
func (l *lesionRows) state() (string, *events.Error) {
	switch {
	case l.notDone():
		return "Not evaluable", nil
	case l.category == "Target" && l.diameter != nil && l.diameter.value.IsZero():
		return "Disappeared", nil
	case l.category == "Target":
		return "Present", nil
	}
	value := l.byTest[testState].value
	state, ok := states[l.category][value]
	if !ok {
		return "", events.Fieldf("TRSTRESC", "%s is an unknown state of a lesion", intake.Printable(value))
	}
	return state, nil
}

// assessedLesions returns the lesions of the assessment, sorted by id.
func (v *visit) assessedLesions(organs map[string]organ) []events.Lesion {
	var lesions []events.Lesion
	for _, id := range slices.Sorted(maps.Keys(v.lesions)) {
		l := v.lesions[id]
		state, err := l.state()
		if err != nil {
			v.refuse(l.deciding().line, err)
		}
		lesion := events.Lesion{ID: id, Category: l.category, Organ: organs[id].name, State: state}
		if l.diameter != nil {
			lesion.Value, lesion.Unit = l.diameter.text, events.Unit
		}
		modality, known := modalities[l.deciding().method]
		if !known {
			modality = "OT"
		}
		lesion.Modality = modality
		lesions = append(lesions, lesion)
	}
	return lesions
}
