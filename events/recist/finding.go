package recist

import (
	"fmt"
	"strconv"
	"strings"
)

// Level is how much a finding matters.
type Level string

// Levels of a finding.
const (
	Contradiction Level = "contradiction" // what is recorded is not what RECIST 1.1 gives
	Judgement     Level = "judgement"     // RECIST 1.1 leaves it to the reader
	NotComputed   Level = "unknown"       // what is recorded is not enough
	Note          Level = "note"          // worth knowing
)

// order of findings of a visit.
var order = map[Level]int{Contradiction: 0, Judgement: 1, NotComputed: 2, Note: 3}

// Finding is a sentence about a visit.
type Finding struct {
	Code    string   `json:"code"`
	Level   Level    `json:"level"`
	Text    string   `json:"text"`
	Lesions []string `json:"lesions"` // ids of those that it is about; never nil
	Source  string   `json:"source"`  // where RECIST 1.1 has the rule; empty for what no rule is needed for
}

// Sources of the rules: Eisenhauer et al., Eur J Cancer 2009;45:228-247, by the titles of
// its sections, and the RECIST FAQ of the EORTC.
const (
	sourceMeasurable = "RECIST 1.1, measurability of tumour at baseline"
	sourceBaseline   = "RECIST 1.1, baseline documentation of target and non-target lesions"
	sourceTargets    = "RECIST 1.1, evaluation of target lesions"
	sourceNonTargets = "RECIST 1.1, evaluation of non-target lesions"
	sourceNew        = "RECIST 1.1, new lesions"
	sourceMissing    = "RECIST 1.1, missing assessments and inevaluable designation"
	sourceBest       = "RECIST 1.1, best overall response"
	sourceTable1     = "RECIST 1.1, tables 1 and 2"
	sourceTable3     = "RECIST 1.1, table 3"
	sourceFAQ        = "EORTC, RECIST 1.1 questions and clarifications"
)

// kind is a kind of finding.
type kind struct {
	code   string
	level  Level
	source string
}

// The kinds of findings. The source of overallDiffers and notEnough is that of the rule
// that decided.
var (
	overallDiffers   = kind{"overall-differs", Contradiction, ""}
	sumDiffers       = kind{"sum-differs", Contradiction, sourceBaseline}
	sumWithoutTarget = kind{"sum-without-target", Contradiction, sourceMissing}
	changeDiffers    = kind{"change-differs", Contradiction, sourceTargets}

	diseaseAfterCR      = kind{"disease-after-cr", Judgement, sourceTable3}
	continuedPR         = kind{"continued-pr", Judgement, sourceFAQ}
	pdEarlier           = kind{"pd-earlier", Judgement, sourceBest}
	missingTargetArgued = kind{"missing-target-argued", Judgement, sourceMissing}
	nonTargetSD         = kind{"non-target-sd", Judgement, "RECIST 1.1, table 2"}
	newConfirmed        = kind{"new-confirmed", Judgement, sourceNew}

	notEnough = kind{"not-enough", NotComputed, ""}

	equivocalNew         = kind{"equivocal-new", Note, sourceNew}
	notAllEvaluated      = kind{"not-all-evaluated", Note, sourceMissing}
	markersUnknown       = kind{"markers-unknown", Note, sourceNonTargets}
	lesionsDiffer        = kind{"lesions-differ", Note, sourceTargets}
	responseUndefined    = kind{"response-undefined", Note, ""}
	baselineHasResponse  = kind{"baseline-has-response", Note, ""}
	historyIncomplete    = kind{"history-incomplete", Note, ""}
	crNotMet             = kind{"cr-not-met", Note, sourceTable3}
	baselineNormal       = kind{"baseline-normal", Note, sourceMeasurable}
	disappearedWithValue = kind{"disappeared-with-value", Note, ""}
	nodeNormal           = kind{"node-normal", Note, sourceNonTargets}
	targetSmall          = kind{"target-small", Note, sourceMeasurable}
	nodeSmall            = kind{"node-small", Note, sourceMeasurable}
	manyTargets          = kind{"many-targets", Note, sourceBaseline}
	manyPerOrgan         = kind{"many-per-organ", Note, sourceBaseline}
)

func newFinding(k kind, lesions []string, format string, args ...any) Finding {
	return Finding{k.code, k.level, fmt.Sprintf(format, args...), append([]string{}, lesions...), k.source}
}

// addf adds a finding to the visit.
func (v *visit) addf(k kind, lesions []string, format string, args ...any) {
	v.result.Findings = append(v.result.Findings, newFinding(k, lesions, format, args...))
}

// noteVisit adds the findings about the i-th visit that are not about its response.
func (c *series) noteVisit(i int) {
	v := c.visits[i]
	c.noteSum(i)
	c.noteLesions(v)
	if v.isBaseline {
		c.noteBaseline(v)
		return
	}
	if v.gap {
		v.addf(historyIncomplete, nil, "an earlier visit of the case is missing; recorded changes stand in for its sum")
	}
	if added := v.members.added; len(added) > 0 {
		v.addf(lesionsDiffer, added, "the first visit has no target %s, so the sum is over other lesions and is not compared", names(added))
	}
	if twice := v.members.overlapping; len(twice) > 0 {
		v.addf(lesionsDiffer, twice, "%s %s recorded beside the target that it is a part of, so the diameters are not added up", names(twice), is(twice))
	}
	if v.nonTarget.response == NE {
		v.addf(notAllEvaluated, v.nonTarget.lesions, "%s", v.nonTarget.why)
	}
	if v.nonTarget.response == CR && v.result.Derived == CR {
		v.addf(markersUnknown, nil, "a complete response also needs tumour markers at normal level, which are not in the record")
	}
	if doubtful := newLesions(v.assessment, equivocal); len(doubtful) > 0 {
		v.addf(equivocalNew, doubtful, "%s %s not certain to be a new lesion and counts as none", names(doubtful), is(doubtful))
	}
}

// noteLesions adds what is odd about single lesions.
func (c *series) noteLesions(v *visit) {
	var withValue, normal []string
	for _, l := range v.assessment.Lesions {
		value := parseLength(l.Value)
		isNormal := c.isNormalNode(l)
		if l.State == stateDisappeared && value != nil && !value.isZero() && !isNormal {
			withValue = append(withValue, l.ID)
		}
		if l.Category == categoryNonTarget && isNormal && l.State != stateDisappeared && !v.isBaseline {
			normal = append(normal, l.ID)
		}
	}
	if withValue = distinct(withValue); len(withValue) > 0 {
		v.addf(disappearedWithValue, withValue, "%s %s recorded as disappeared, with a diameter above 0", names(withValue), is(withValue))
	}
	if normal = distinct(normal); len(normal) > 0 {
		v.addf(nodeNormal, normal, "non-target %s %s a node below 10 mm and counts as gone, though its state is another", names(normal), is(normal))
	}
}

// noteBaseline adds what is unusual about the choice of targets.
func (c *series) noteBaseline(v *visit) {
	if r := v.result.Recorded; r.comparable() {
		v.addf(baselineHasResponse, nil, "%s is recorded at the baseline, which has no response yet", r)
	}
	if c.normalAtBaseline() {
		v.addf(baselineNormal, memberIDs(v.members.all), "no target is abnormal, so no response of the targets can be computed later")
	}
	var small, smallNodes []string
	perOrgan := map[string][]string{}
	for _, m := range v.members.all {
		switch {
		case m.diameter == nil:
		case m.node && m.diameter.less(millimetres(15)):
			smallNodes = append(smallNodes, m.id)
		case !m.node && m.diameter.less(millimetres(10)):
			small = append(small, m.id)
		}
		if organ := organOf(c.first[m.id].Organ, m.node); organ != "" {
			perOrgan[organ] = append(perOrgan[organ], m.id)
		}
	}
	if len(small) > 0 {
		v.addf(targetSmall, small, "target %s %s below 10 mm", names(small), is(small))
	}
	if len(smallNodes) > 0 {
		v.addf(nodeSmall, smallNodes, "target node %s %s below 15 mm in short axis", names(smallNodes), is(smallNodes))
	}
	if n := len(v.members.all); n > 5 {
		v.addf(manyTargets, memberIDs(v.members.all), "%d targets; at most 5 are intended", n)
	}
	c.noteOrgans(v, perOrgan)
}

// noteOrgans adds the organs with more than two targets, in the order of their lesions.
func (c *series) noteOrgans(v *visit, perOrgan map[string][]string) {
	for _, m := range v.members.all {
		organ := organOf(c.first[m.id].Organ, m.node)
		if ids := perOrgan[organ]; len(ids) > 2 && ids[0] == m.id {
			v.addf(manyPerOrgan, ids, "%d targets in one organ, %s; at most 2 are intended", len(ids), printable(organ))
		}
	}
}

// organOf returns the organ of a target as they are counted: all nodes are one, and both
// lungs. It returns "" where none is recorded.
func organOf(organ string, node bool) string {
	text := strings.ToLower(strings.TrimSpace(organ))
	switch {
	case node:
		return "lymph nodes"
	case strings.Contains(text, "lung"):
		return "lung"
	default:
		return text
	}
}

// names returns ids for a sentence: T01, T02 and T03. Of many it names the first few and
// the number of the others.
func names(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	shown := ids
	if len(ids) > maxNamed+1 {
		shown = ids[:maxNamed]
	}
	words := make([]string, 0, len(shown)+1)
	for _, id := range shown {
		words = append(words, printable(id))
	}
	if more := len(ids) - len(shown); more > 0 {
		words = append(words, strconv.Itoa(more)+" others")
	}
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// maxNamed is how many lesions a sentence names.
const maxNamed = 5

func is(ids []string) string {
	if len(ids) == 1 {
		return "is"
	}
	return "are"
}

func was(ids []string) string {
	if len(ids) == 1 {
		return "was"
	}
	return "were"
}

func printable(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// quote returns the conclusion, or a word for none.
func quote(conclusion string) string {
	if conclusion == "" {
		return "nothing"
	}
	return strconv.Quote(conclusion)
}
