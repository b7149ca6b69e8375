package sdtm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// maxEvaluators is how many names, of evaluators or of criteria, are kept of a file,
// so that memory is bounded.
const maxEvaluators = 20

// evaluators counts the rows of a file by the evaluator that they name. Rows
// without an evaluator are the investigator's if no row of the file names another
// evaluator. That is known only at the end of the file.
type evaluators struct {
	wanted           string
	names            map[string]tally // by evaluator; at most maxEvaluators and the wanted one
	withoutEvaluator tally
	foreign          bool // whether a row names another evaluator than the investigator
}

// tally is a number of rows and the line of the first.
type tally struct{ rows, first int }

// with returns the tally with one more row.
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

// accept counts a row. It reports whether the row is to be read, and whether it
// names no evaluator. Such a row is read if it may still be the wanted evaluator's;
// withoutEvaluatorIsWanted decides that at the end of the file.
func (e *evaluators) accept(dom domain, r row) (read, withoutEvaluator bool) {
	name := r.get(dom.eval)
	if id := r.get(dom.evalID); id != "" {
		name += "/" + id
	}
	if name == "" {
		e.withoutEvaluator = e.withoutEvaluator.with(r.line)
		return e.wanted == Investigator && !e.foreign, true
	}
	e.foreign = e.foreign || name != Investigator
	if t, ok := e.names[name]; ok || len(e.names) < maxEvaluators || name == e.wanted {
		e.names[strings.Clone(name)] = t.with(r.line)
	}
	return name == e.wanted, false
}

// withoutEvaluatorIsWanted reports whether there are rows without an evaluator and
// they are the wanted evaluator's, as far as the file has been read.
func (e *evaluators) withoutEvaluatorIsWanted() bool {
	return e.wanted == Investigator && !e.foreign && e.withoutEvaluator.rows > 0
}

// hasWanted reports whether there are rows of the wanted evaluator.
func (e *evaluators) hasWanted() bool {
	return e.names[e.wanted].rows > 0 || e.withoutEvaluatorIsWanted()
}

// list returns the evaluators of the file for a message. Rows without an evaluator
// are listed as "", or as the investigator's if the file names nobody.
func (e *evaluators) list() string {
	words := []string{}
	for _, name := range slices.Sorted(maps.Keys(e.names)) {
		words = append(words, intake.Printable(name))
	}
	switch {
	case e.withoutEvaluator.rows > 0 && e.foreign:
		words = append([]string{`""`}, words...)
	case e.withoutEvaluator.rows > 0 && len(words) == 0:
		words = append(words, Investigator)
	}
	if len(words) == 0 {
		return "nobody"
	}
	return strings.Join(words, ", ")
}

// warnings returns warnings about rows that are left out, although they may be meant
// as the wanted evaluator's. These rows have no evaluator, or a name that is spelled
// like the wanted one, or a name of which tr.csv has no record. Results is of tr.csv.
func (e *evaluators) warnings(dom domain, results *evaluators) []intake.Warning {
	var out []intake.Warning
	warn := func(t tally, by, why string) {
		text := fmt.Sprintf("%s:%d: %s: %s %s, %s", dom.file, t.first, dom.eval, rowsAre(t.rows), by, why)
		out = append(out, intake.Warning{Kind: kindEvaluator, Text: text})
	}
	if e.wanted == Investigator && e.withoutEvaluator.rows > 0 && e.foreign {
		warn(e.withoutEvaluator, "without an evaluator", "and left out because the file has rows by others")
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

// includes reports whether rows are by an evaluator, or may be because not all names
// were kept.
func (e *evaluators) includes(name string) bool {
	_, ok := e.names[name]
	return ok || len(e.names) >= maxEvaluators || name == Investigator && e.withoutEvaluatorIsWanted()
}

// rowsAre returns the number of rows with the verb, for a message.
func rowsAre(n int) string {
	if n == 1 {
		return "1 row is"
	}
	return fmt.Sprintf("%d rows are", n)
}

// plain returns a name in lower case, without spaces and the punctuation in which
// spellings differ.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" /-_.,'\"", r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
}
