package sdtm

import (
	"cmp"
	"maps"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

const notDone = "NOT DONE"

// The codes of TRTESTCD that an assessment is made from.
const (
	testDiameter  = "DIAMETER"
	testLongAxis  = "LDIAM"
	testShortAxis = "LPERP"
	testState     = "TUMSTATE"
	testNodeState = "LNSTATE"
	testSum       = "SUMDIAM"
)

const (
	categoryTarget    = "Target"
	categoryNonTarget = "Non-target"
	categoryNew       = "New lesion"

	stateTooSmall     = "Too small"
	stateNotEvaluable = "Not evaluable"
	stateDisappeared  = "Disappeared"
	statePresent      = "Present"
	stateUndefined    = "Undefined"
)

// categories maps TRGRPID to the category of a lesion.
var categories = map[string]string{"TARGET": categoryTarget, "NON-TARGET": categoryNonTarget, "NEW": categoryNew}

// states maps category and TUMSTATE to the state of a lesion that is no target.
var states = map[string]map[string]string{
	categoryNonTarget: {"PRESENT": statePresent, "ABSENT": stateDisappeared, "UNEQUIVOCAL": "Uneqv. prog.", "EQUIVOCAL": stateUndefined, "": ""},
	categoryNew:       {"UNEQUIVOCAL": statePresent, "EQUIVOCAL": stateUndefined, "": ""},
}

// nodeStates maps LNSTATE to the state of a lymph node.
var nodeStates = map[string]string{"PATHOLOGICAL": statePresent, "NON-PATHOLOGICAL": stateDisappeared, "": ""}

// modalities maps TRMETHOD to the DICOM modality; any other method is OT.
var modalities = map[string]string{"CT SCAN": "CT", "MRI": "MR", "PET": "PT", "": ""}

// lesion is one lesion at a visit.
type lesion struct {
	category string
	byTest   map[string]result // rows by TRTESTCD
	first    result            // its first row
	organ    string

	measured result  // the row that measures it; zero if there is none
	label    string  // of the axis that was measured
	diameter *length // nil where there is none
	tooSmall bool
	notDone  bool
	why      string // why there is no diameter

	registered bool // not from rows, but from a registered assessment
}

// addLesion adds a row to the rows of its lesion. A second row of the same test is
// ignored if it has the same result or none; another result refuses the visit.
func (v *visit) addLesion(s *subject, r result) {
	category, err := s.category(r)
	if err != nil {
		v.refuseValue(r.line, err)
		return
	}
	l := v.lesions[r.lesion]
	if l == nil {
		l = &lesion{category: category, byTest: map[string]result{}, first: r, organ: s.organ(r.lesion)}
		v.lesions[r.lesion] = l
	}
	if l.category != category {
		v.refuseValue(r.line, events.Fieldf("TRGRPID", "lesion %s is %s here and %s in line %d",
			intake.Printable(r.lesion), category, l.category, l.first.line))
		return
	}
	if first, twice := l.byTest[r.test]; twice && !first.blank() {
		if r.blank() {
			return // a missing result contradicts nothing
		}
		if !first.equal(r) {
			v.refuseValue(r.line, events.Fieldf("TRLNKID", "lesion %s has %s twice on one date with different values, first in line %d",
				intake.Printable(r.lesion), intake.Printable(r.test), first.line))
		} else if first.method != r.method {
			v.warnf(kindMethod, "%s:%d: TRMETHOD: %s of lesion %s is by %s here; %s of line %d is used", resultsDomain.file, r.line,
				intake.Printable(r.test), intake.Printable(r.lesion), intake.Printable(r.method), intake.Printable(first.method), first.line)
		}
		return
	}
	l.byTest[r.test] = r
}

// category returns the category of the lesion in a row. It is that of TRGRPID. If
// TRGRPID is blank, it is that of the lesion in tu.csv, or of the lesion that it is a
// part of, or the one category of all lesions that it was merged from.
func (s *subject) category(r result) (string, *events.Error) {
	if category, ok := categories[r.group]; ok {
		return category, nil
	}
	if r.group != "" {
		return "", events.Fieldf("TRGRPID", "%s is none of TARGET, NON-TARGET and NEW", intake.Printable(r.group))
	}
	var found string
	for _, id := range append([]string{r.lesion}, recist.Wholes(r.lesion)...) {
		o := s.organs[id]
		if o.contradicted != 0 {
			return "", events.Fieldf("TRGRPID", "is missing, and tu.csv has different categories of lesion %s in lines %d and %d",
				intake.Printable(id), o.categoryLine, o.contradicted)
		}
		if o.category != "" {
			return categories[o.category], nil
		}
	}
	for i, id := range recist.MergedFrom(r.lesion) {
		part := r
		if part.lesion = id; id == r.lesion { // it was not merged
			break
		}
		category, err := s.category(part)
		if err != nil || i > 0 && category != found {
			found = ""
			break
		}
		found = category
	}
	if found != "" {
		return found, nil
	}
	return "", events.Fieldf("TRGRPID", "is missing, and tu.csv has no category of lesion %s", intake.Printable(r.lesion))
}

// organ returns the organ of a lesion in tu.csv. A part of a lesion has the organ of
// the whole. A merged lesion has the organ that all its lesions have in common. If
// there is none, organ returns "".
func (s *subject) organ(id string) string {
	for _, id := range append([]string{id}, recist.Wholes(id)...) {
		if o := s.organs[id]; o.name != "" {
			return o.name
		}
	}
	common := ""
	for i, part := range recist.MergedFrom(id) {
		if part == id { // it was not merged
			return ""
		}
		organ := s.organ(part)
		if i > 0 && organ != common {
			return ""
		}
		common = organ
	}
	return common
}

// measure sets the row that measures the lesion, its diameter, and why there is no
// diameter. The row is the first of l.tests that has a result or is NOT DONE,
// or else the last that there is.
func (v *visit) measure(id string, l *lesion) {
	for _, test := range l.tests() {
		r, ok := l.byTest[test]
		if !ok {
			continue
		}
		if l.measured.line == 0 || l.measured.blank() {
			l.measured, l.label = r, labels[test]
		}
	}
	if l.measured.line == 0 {
		l.notDone = l.first.status == notDone
		l.why = "has no " + testDiameter
		if _, long := l.byTest[testLongAxis]; long {
			l.why = "is a lymph node and has no " + testShortAxis
		}
		return
	}
	l.notDone = l.measured.status == notDone
	var err *events.Error
	if l.diameter, err = v.readLength(l.measured); err != nil {
		v.refuseValue(l.measured.line, err)
	}
	l.tooSmall = l.measured.tooSmall() && !l.notDone
	if l.diameter == nil {
		l.why = "has no value of " + l.measured.test
		if !l.tooSmall { // no axis was measured
			l.label = ""
		}
	}
	if l.label == labels[testLongAxis] && l.organ == "" && l.byTest[testShortAxis].line != 0 {
		v.warnf(kindAxis, "%s:%d: TRTESTCD: lesion %s has no TULOC that would show whether it is a lymph node; %s is used, not %s",
			resultsDomain.file, l.measured.line, intake.Printable(id), testLongAxis, testShortAxis)
	}
}

var labels = map[string]string{testLongAxis: "Long axis", testShortAxis: "Short axis"}

// tests returns the codes of the tests that measure the lesion, the preferred one
// first. By RECIST 1.1 a lymph node is measured by its short axis alone.
func (l *lesion) tests() []string {
	if recist.IsLymphNode(l.organ) {
		return []string{testDiameter, testShortAxis}
	}
	return []string{testDiameter, testLongAxis, testShortAxis}
}

// deciding returns the row that decides the state of the lesion: of a target, the
// row that measures it; else a row of its state, preferably one with a result; else
// its first row.
func (l *lesion) deciding() result {
	if l.category == categoryTarget && l.measured.line != 0 {
		return l.measured
	}
	for _, test := range []string{testState, testNodeState} {
		if r, ok := l.byTest[test]; ok && r.result() != "" && r.status != notDone {
			return r
		}
	}
	for _, test := range []string{testState, testNodeState} {
		if r, ok := l.byTest[test]; ok {
			return r
		}
	}
	return l.first
}

// state returns the state of the lesion. It is empty if the lesion is no target and
// no row has a state.
func (l *lesion) state() (string, *events.Error) {
	decides := l.deciding()
	switch {
	case decides.status == notDone:
		return stateNotEvaluable, nil
	case l.category == categoryTarget && l.tooSmall, decides.tooSmall():
		return stateTooSmall, nil
	case l.category == categoryTarget && l.measured.isZero():
		return stateDisappeared, nil
	case l.category == categoryTarget && !l.measured.blank():
		return statePresent, nil
	}
	category := l.category
	if category == categoryTarget {
		category = categoryNonTarget // a target that was not measured has the state of its rows
	}
	state, err := l.stateOf(category)
	if err == nil && state == "" {
		switch {
		case l.category == categoryTarget:
			state = stateUndefined
		case l.tooSmall:
			state = stateTooSmall
		}
	}
	return state, err
}

// stateOf returns the state that TUMSTATE, or else LNSTATE, has in the category. The
// two may not contradict each other on whether the lesion has disappeared.
func (l *lesion) stateOf(category string) (string, *events.Error) {
	tumour, node := l.byTest[testState].done(), l.byTest[testNodeState].done()
	state, ok := states[category][tumour]
	if !ok {
		return "", events.Fieldf("TRSTRESC", "%s is an unknown state of a lesion", intake.Printable(tumour))
	}
	nodeState, ok := nodeStates[node]
	if !ok {
		return "", events.Fieldf("TRSTRESC", "%s is an unknown state of a lymph node", intake.Printable(node))
	}
	if tumour != "" && node != "" && (state == stateDisappeared) != (nodeState == stateDisappeared) {
		return "", events.Fieldf("TRSTRESC", "%s is %s (line %d), but %s is %s (line %d)",
			testState, intake.Printable(tumour), l.byTest[testState].line, testNodeState, intake.Printable(node), l.byTest[testNodeState].line)
	}
	return cmp.Or(state, nodeState), nil
}

// assessedLesions returns the lesions of the assessment, sorted by id. It refuses
// the visit if a state is unknown.
func (v *visit) assessedLesions() []events.Lesion {
	var lesions []events.Lesion
	for _, id := range slices.Sorted(maps.Keys(v.lesions)) {
		l := v.lesions[id]
		state, err := l.state()
		if err != nil {
			v.refuse(l.deciding().line, err)
		}
		assessed := events.Lesion{ID: id, Category: l.category, Organ: l.organ, State: state, Label: l.label}
		if l.diameter != nil {
			assessed.Value, assessed.Unit = l.diameter.text, events.Unit
		}
		modality, ok := modalities[l.deciding().method]
		if !ok {
			modality = "OT"
		}
		assessed.Modality = modality
		lesions = append(lesions, assessed)
	}
	return lesions
}
