package sdtm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// maxEvaluators is how many evaluators of a file are remembered.
const maxEvaluators = 20

// evaluators is who the rows of a file are by. Rows without an evaluator are the
// investigator's if no row of the file names another evaluator, which only its
// end shows.
type evaluators struct {
	wanted  string
	names   map[string]tally // at most maxEvaluators and the wanted one
	unnamed tally
	others  bool // whether a row names another evaluator than the investigator
}

// tally counts rows.
type tally struct{ rows, first int }

func (t tally) with(line int) tally {
	if t.rows == 0 {
		t.first = line
	}
	t.rows++
	return t
}

func newEvaluators(wanted string) evaluators {
	return evaluators{wanted: wanted, names: map[string]tally{}}
}

// accept reports whether a row is to be read, and whether it has no evaluator,
// so that it counts only if unnamedCount is true at the end of the file.
func (e *evaluators) accept(dom domain, r row) (read, unnamed bool) {
	name := r.get(dom.eval)
	if id := r.get(dom.evalID); id != "" {
		name += "/" + id
	}
	if name == "" {
		e.unnamed = e.unnamed.with(r.line)
		return e.wanted == Investigator && !e.others, true
	}
	e.others = e.others || name != Investigator
	if t, ok := e.names[name]; ok || len(e.names) < maxEvaluators || name == e.wanted {
		e.names[strings.Clone(name)] = t.with(r.line)
	}
	return name == e.wanted, false
}

// unnamedCount reports whether rows without an evaluator are the evaluator's.
func (e *evaluators) unnamedCount() bool {
	return e.wanted == Investigator && !e.others && e.unnamed.rows > 0
}

// found reports whether there are rows of the evaluator.
func (e *evaluators) found() bool { return e.names[e.wanted].rows > 0 || e.unnamedCount() }

// list returns the evaluators of the file for a message.
func (e *evaluators) list() string {
	words := []string{}
	for _, name := range slices.Sorted(maps.Keys(e.names)) {
		words = append(words, intake.Printable(name))
	}
	switch {
	case e.unnamed.rows > 0 && e.others:
		words = append([]string{`""`}, words...)
	case e.unnamed.rows > 0 && len(words) == 0:
		words = append(words, Investigator)
	}
	if len(words) == 0 {
		return "nobody"
	}
	return strings.Join(words, ", ")
}

// warnings returns warnings of rows that are left out although they may be meant
// as the evaluator's: those without an evaluator, and those by a name that is
// spelled like the evaluator's, or that has no records in tr.csv.
func (e *evaluators) warnings(dom domain, results *evaluators) []intake.Warning {
	var out []intake.Warning
	warn := func(t tally, by, why string) {
		text := fmt.Sprintf("%s:%d: %s: %s %s, %s", dom.file, t.first, dom.eval, rowsAre(t.rows), by, why)
		out = append(out, intake.Warning{Kind: kindEvaluator, Text: text})
	}
	if e.wanted == Investigator && e.unnamed.rows > 0 && e.others {
		warn(e.unnamed, "without an evaluator", "and left out because the file has rows by others")
	}
	for _, name := range slices.Sorted(maps.Keys(e.names)) {
		switch {
		case name == e.wanted:
		case plain(name) == plain(e.wanted):
			warn(e.names[name], "by "+intake.Printable(name), fmt.Sprintf("which is not %s, and left out", e.wanted))
		case results != e && !results.includes(name):
			warn(e.names[name], "by "+intake.Printable(name), "of whom tr.csv has no record, and left out")
		}
	}
	return out
}

// includes reports whether rows are, or may be, by an evaluator.
func (e *evaluators) includes(name string) bool {
	_, ok := e.names[name]
	return ok || len(e.names) >= maxEvaluators || name == Investigator && e.unnamedCount()
}

func rowsAre(n int) string {
	if n == 1 {
		return "1 row is"
	}
	return fmt.Sprintf("%d rows are", n)
}

// plain returns the letters and digits of a name in lower case.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" /-_.,'\"", r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
}
