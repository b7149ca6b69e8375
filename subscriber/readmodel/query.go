package readmodel

import (
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Column is something reports can be searched and sorted by.
type Column string

// The columns. Date, Issued and LastUpdated hold periods, the others text.
const (
	ColumnID          Column = "id"           // assessment id
	ColumnDate        Column = "date"         // effectiveDateTime, at the precision the source wrote
	ColumnIssued      Column = "issued"       // moment of sign-off
	ColumnLastUpdated Column = "last_updated" // meta.lastUpdated
	ColumnSubject     Column = "subject"      // the sponsor's subject id, without Patient/
	ColumnName        Column = "name"         // assessment name
	ColumnConclusion  Column = "conclusion"   // response class
	ColumnCase        Column = "case_id"      // case number; in a Comparison in decimal
)

// Op compares a datum with the value of a search.
type Op string

// The comparisons. On text columns only Eq is offered. On periods, Eq: the
// value contains the datum; Ne: not Eq; Gt and Lt: the datum reaches beyond
// the value; Ge and Le: that or Eq.
const (
	Eq Op = "eq"
	Ne Op = "ne"
	Lt Op = "lt"
	Gt Op = "gt"
	Ge Op = "ge"
	Le Op = "le"
)

// Comparison is one value a column is compared with: Text for text columns,
// Period for date columns.
type Comparison struct {
	Op     Op
	Text   string
	Period events.Period
}

// Condition holds for a report if any of its comparisons does.
type Condition struct {
	Column Column
	Any    []Comparison
}

// Order is one step of sorting.
type Order struct {
	Column     Column
	Descending bool
}

// Query asks for the available reports of one study.
type Query struct {
	Study  string      // study token
	Where  []Condition // all of them
	Sort   []Order     // ties, and no Sort at all: by id, ids of digits only first and by value, then by code point
	Offset int         // reports to skip
	Limit  int         // reports to give at most; 0: the total only
}

// Report is the newest version of a report.
type Report struct {
	ID          string
	Study       string // study token
	Version     uint64 // study number of the event that carries the bytes
	LastUpdated time.Time
	Available   bool   // false: superseded or withdrawn
	Body        []byte // FHIR JSON, byte for byte as signed
}

// Page is the answer to a Query. Total and Reports reflect one and the same
// moment: the study after its event number Sequence.
type Page struct {
	Total    int    // matches over all pages
	Sequence uint64 // study number the answer reflects; 0 for a study without events
	Reports  []Report
}
