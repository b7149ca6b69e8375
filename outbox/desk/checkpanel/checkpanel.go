// Package checkpanel says in sentences how what is recorded at a visit compares with what
// RECIST 1.1 gives for it.
//
// A panel is a pure function of a checked visit. Only a contradiction asks for a reason. A
// visit about which nothing can be computed is never said to agree.
package checkpanel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// Level is what a panel is about. It decides its colour.
type Level string

// Levels of a panel.
const (
	Contradicts Level = "contradicts" // and needs a reason to be signed
	Judgement   Level = "judgement"   // RECIST 1.1 leaves it to the reader
	Unknown     Level = "unknown"     // the record is not enough, or has no response to compare
	Agrees      Level = "agrees"
)

// Panel is what is said of a visit.
type Panel struct {
	ID    string // of the assessment
	Visit string // its name
	Level Level

	Recorded, Derived recist.Response
	Admissible        []recist.Response // others than Derived

	// Title is the heading. It is empty where the heading is the responses: if Differs, that
	// is, if the recorded one is neither derived nor admissible, and for a judgement.
	Title   string
	Differs bool

	Reasons []Sentence // why it contradicts, the first one first
	Remarks []string   // judgements, or what is missing
	Notes   []string   // worth knowing, and no contradiction

	// Sections are those of RECIST 1.1 that have the rules; Others are other sources.
	Sections, Others []string
}

// Sentence is a text of which a part stands out.
type Sentence struct{ Text, Strong, End string }

// Of returns the panel of the assessment a, with what RECIST 1.1 gives for it. Visits are
// all checked visits of the case; they name the visit of the smallest sum.
func Of(a events.Assessment, v recist.Visit, visits map[string]recist.Visit) Panel {
	p := Panel{
		ID: v.Assessment, Visit: v.Name, Recorded: v.Recorded, Derived: v.Derived, Admissible: v.Admissible,
		Differs: v.Has("overall-differs"),
	}
	baseline := v.Derived == recist.None
	for _, f := range v.Findings {
		switch f.Level {
		case recist.Contradiction:
			if f.Code == "overall-differs" {
				p.Reasons = append(p.Reasons, whyDiffers(a, v, f, visits)...)
			} else {
				p.Reasons = append(p.Reasons, Sentence{Text: sentence(f.Text)})
			}
		case recist.Judgement:
			p.Remarks = append(p.Remarks, sentence(f.Text))
		case recist.NotComputed:
			p.Remarks = append(p.Remarks, sentence(strings.TrimPrefix(f.Text, "not enough in the record to check: ")))
		case recist.Note:
			text := sentence(f.Text)
			if !slices.ContainsFunc(p.Reasons, func(s Sentence) bool { return strings.HasPrefix(s.Text, text) }) {
				p.Notes = append(p.Notes, text)
			}
			continue // its source would be one more line for nothing that matters
		}
		p.addSource(f.Source)
	}
	p.Level = levelOf(a, v, baseline)
	p.Title = p.title(a, baseline)
	return p
}

// addSource adds the source of a rule, unless it is there already.
func (p *Panel) addSource(source string) {
	section, ok := strings.CutPrefix(source, "RECIST 1.1, ")
	switch {
	case ok && !slices.Contains(p.Sections, section):
		p.Sections = append(p.Sections, section)
	case !ok && source != "" && !slices.Contains(p.Others, source):
		p.Others = append(p.Others, source)
	}
}

func levelOf(a events.Assessment, v recist.Visit, baseline bool) Level {
	is := func(level recist.Level) bool {
		return slices.ContainsFunc(v.Findings, func(f recist.Finding) bool { return f.Level == level })
	}
	switch {
	case is(recist.Contradiction):
		return Contradicts
	case is(recist.NotComputed), v.Has("response-undefined"), baseline && !sumIsChecked(a, v):
		return Unknown
	case is(recist.Judgement):
		return Judgement
	default:
		return Agrees
	}
}

// sumIsChecked reports whether a sum is recorded that was compared with its lesions.
func sumIsChecked(a events.Assessment, v recist.Visit) bool {
	return a.Measurement != nil && v.Sum.Known() &&
		slices.ContainsFunc(a.Lesions, func(l events.Lesion) bool { return l.Category == "Target" })
}

// title returns the heading of a panel, unless that is the responses.
func (p Panel) title(a events.Assessment, baseline bool) string {
	switch {
	case p.Differs, p.Level == Judgement:
		return ""
	case p.Level == Contradicts:
		return "The record of " + p.Visit + " contradicts itself"
	case p.Level == Agrees && baseline:
		return "The sum of " + p.Visit + " is that of its target lesions"
	case p.Level == Agrees:
		return p.Visit + " agrees with RECIST 1.1"
	case p.Derived == recist.Unknown:
		return "Not enough in the record to check " + p.Visit
	case baseline && a.Measurement == nil:
		return p.Visit + " has no sum and no response to check"
	case baseline:
		return "Not enough in the record to check " + p.Visit
	default:
		return p.Visit + " has no response by RECIST 1.1 to check"
	}
}

// whyDiffers returns why the recorded response contradicts the derived one: how the derived
// one comes about, and why the recorded one does not.
func whyDiffers(a events.Assessment, v recist.Visit, f recist.Finding, visits map[string]recist.Visit) []Sentence {
	var out []Sentence
	switch added := recist.NewLesions(a); {
	case v.Derived != recist.PD:
		why := f.Text
		if _, after, ok := strings.Cut(f.Text, " gives "+string(v.Derived)+": "); ok {
			why = after
		}
		out = append(out, ruleOf(v, sentence(why)))
	default:
		if len(added) > 0 {
			out = append(out, Sentence{Text: sentence(list(added)+isNew(added)) + " An unequivocal new lesion is ", Strong: "progression", End: "."})
		}
		if v.Target == recist.PD {
			out = append(out, whyTargets(v, f, visits))
		}
		if v.NonTarget == recist.PD {
			out = append(out, Sentence{Text: "Non-target " + list(v.Progressed) + " progressed unequivocally, which is ", Strong: "progression of the non-target lesions", End: "."})
		}
		if len(out) == 0 { // for what was before this visit
			_, why, _ := strings.Cut(f.Text, " gives "+string(v.Derived)+": ")
			out = append(out, Sentence{Text: sentence(why)})
		}
	}
	return append(out, whyNotRecorded(v)...)
}

// whyTargets returns how the targets progress.
func whyTargets(v recist.Visit, f recist.Finding, visits map[string]recist.Visit) Sentence {
	rule := Sentence{Strong: "progression of the target lesions", End: "."}
	const limits = " At least 20 % and at least 5 mm is "
	if !v.Sum.Known() || !v.Nadir.Known() {
		_, why, found := strings.Cut(f.Text, ": ")
		if !found || v.New {
			why = "the targets that were measured alone are enough"
		}
		rule.Text = sentence(why) + limits
		return rule
	}
	growth := v.Sum.Minus(v.Nadir).String()
	if percent := recist.Percent(v.Nadir, v.Sum); percent != events.NoChange {
		growth += " and " + strings.TrimPrefix(percent, "+")
	}
	rule.Text = fmt.Sprintf("The sum is %s: %s over the smallest sum before, %s%s.", v.Sum, growth, v.Nadir, at(v, visits)) + limits
	return rule
}

// at returns " at" and the visit of the smallest sum before v, or "" if that is not in the
// record.
func at(v recist.Visit, visits map[string]recist.Visit) string {
	var nadir *recist.Visit
	for _, other := range visits {
		if other.Timepoint >= v.Timepoint || !other.Sum.Known() || other.Sum.Compare(v.Nadir) != 0 || other.Has("lesions-differ") {
			continue
		}
		if nadir == nil || cmp.Or(cmp.Compare(other.Timepoint, nadir.Timepoint), cmp.Compare(other.Assessment, nadir.Assessment)) < 0 {
			nadir = &other
		}
	}
	if nadir == nil {
		return ""
	}
	return " at " + nadir.Name
}

// whyNotRecorded returns why the response that is recorded does not hold, where the reasons
// for the derived one do not say it: the sum alone would be that response.
func whyNotRecorded(v recist.Visit) []Sentence {
	switch {
	case v.Derived != recist.PD || v.Recorded != recist.PR || !v.Sum.Known() || !v.Baseline.Known() || !v.Sum.IsPartial(v.Baseline):
		return nil
	case v.Target == recist.PD:
		return []Sentence{{Text: fmt.Sprintf("It is also %s below the baseline of %s, which would be partial response. Progression is measured from the smallest sum, and takes precedence.",
			strings.TrimPrefix(recist.Percent(v.Baseline, v.Sum), "-"), v.Baseline)}}
	default:
		return []Sentence{{Text: fmt.Sprintf("The sum alone, %s below the baseline of %s, would be partial response. Progression takes precedence.",
			strings.TrimPrefix(recist.Percent(v.Baseline, v.Sum), "-"), v.Baseline)}}
	}
}

// ruleOf returns the reason with the rule by which it leads to the derived response.
func ruleOf(v recist.Visit, why string) Sentence {
	s := Sentence{Text: why, End: "."}
	switch v.Derived {
	case recist.CR:
		s.Text, s.Strong = why+" Nothing left is ", "complete response"
	case recist.PR:
		switch v.Target {
		case recist.CR:
			s.Text, s.Strong = why+" Targets that are gone beside non-targets that are not, or were not evaluated, are ", "partial response"
		default:
			s.Text, s.Strong = why+" At least 30 % below the baseline is ", "partial response"
		}
	case recist.SD:
		s.Text, s.Strong = why+" Neither 30 % below the baseline, nor 20 % and 5 mm over the smallest sum, is ", "stable disease"
	case recist.NE:
		s.Text, s.Strong = why+" Without it the visit is ", "not evaluable"
	case recist.NonCRNonPD:
		s.Text, s.Strong = why+" Without targets that is ", "Non-CR/Non-PD"
	default:
		s.End = ""
	}
	return s
}

func isNew(ids []string) string {
	if len(ids) == 1 {
		return " is a new lesion"
	}
	return " are new lesions"
}

// list returns ids for a sentence, at most maxNamed of them.
func list(ids []string) string {
	const maxNamed = 5
	if len(ids) > maxNamed+1 {
		return strings.Join(ids[:maxNamed], ", ") + fmt.Sprintf(" and %d others", len(ids)-maxNamed)
	}
	if len(ids) < 2 {
		return cmp.Or(ids...)
	}
	return strings.Join(ids[:len(ids)-1], ", ") + " and " + ids[len(ids)-1]
}

// sentence returns a text with a capital at its beginning and a full stop at its end. The
// first word stays as it is where it is an id: those have a digit or a capital.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	word, _, _ := strings.Cut(text, " ")
	if !strings.ContainsAny(word, "0123456789") {
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}
