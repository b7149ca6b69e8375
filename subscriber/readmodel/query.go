package readmodel

import (
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Column is a property by which reports can be found and sorted.
type Column string

// The columns. Those of dates are compared with a Period, the others with a
// Text.
const (
	ColumnID          Column = "id"
	ColumnDate        Column = "date" // of the assessment
	ColumnIssued      Column = "issued"
	ColumnLastUpdated Column = "lastUpdated"
	ColumnSubject     Column = "subject" // without Patient/
	ColumnName        Column = "name"
	ColumnConclusion  Column = "conclusion"
	ColumnCase        Column = "case"       // decimal
	ColumnIdentifier  Column = "identifier" // of Observations only
)

// Resource is what a query asks for.
type Resource string

// The resources. Observations stand in the order of their reports, and then of the
// lesions. They have the columns id, identifier and lastUpdated of their own, and
// date, subject and case of their report; no others.
const (
	Reports      Resource = ""
	Observations Resource = "Observation"
)

// Op is how a report's value must relate to the value of the query. Dates are
// intervals.
type Op string

// The comparisons. Texts can only be equal or not.
const (
	Eq Op = "eq" // the query's interval contains the report's
	Ne Op = "ne" // it does not
	Lt Op = "lt" // the report's reaches before it
	Gt Op = "gt" // the report's reaches beyond it
	Ge Op = "ge" // Gt or Eq
	Le Op = "le" // Lt or Eq
)

// Comparison is one value of a query.
type Comparison struct {
	Op     Op            // Defaults to Eq.
	Text   string        // for columns of text; a case in decimal
	Unless string        // with ColumnID of Observations: only if no Observation of the study has this identifier
	Period events.Period // for columns of dates
}

// Condition is true for a report if any of its comparisons is.
type Condition struct {
	Column Column
	Any    []Comparison
}

// Order is one level of a sort.
type Order struct {
	Column     Column // dates sort by their start
	Descending bool
}

// Query asks for available reports or Observations of one study.
type Query struct {
	Study         string      // study key
	Resource      Resource    // Defaults to Reports.
	Where         []Condition // all must be true
	Sort          []Order     // then ascending by id: digits only first and by value, others by code point
	Offset, Limit int         // Limit 0: the total only

	// AsOf is the study number at which the study is shown; nil for the last one.
	// The places of the results are those at that number. A place whose bytes are no
	// longer available is left out.
	AsOf *uint64

	Include bool // the Observations of the reports on the page as well

	// Join, if not nil, is how the reports on the page are returned as one text. It has no
	// effect in a query of Observations, with Include or with a Limit above MaxJoined.
	Join *Join
}

// MaxJoined is how many reports can be joined to one text: SQLite's limit of a value is 1 GB.
const MaxJoined = 100

// Join is how reports are joined to one text: each as Before, its id, Between and its body,
// with Separator after each but the last, and End after the last.
type Join struct{ Before, Between, Separator, End string }

// Report is one version of a report.
type Report struct {
	ID          string
	Study       string // study key
	Version     uint64 // number of the event that carries the bytes
	LastUpdated time.Time
	Available   bool   // false: superseded or withdrawn since
	Body        []byte // FHIR JSON, byte for byte as signed

	StudyHead events.ChainHead // of the study in the state that was read; set by Report and Version only
}

// Observation is one version of an Observation.
type Observation struct {
	ID          string
	Identifier  string
	Study       string // study key
	Version     uint64 // number of the event that carries the bytes
	LastUpdated time.Time
	Available   bool   // false: its report was superseded or withdrawn since
	Body        []byte // FHIR JSON, byte for byte as signed

	StudyHead events.ChainHead // as in Report; set by Observations only
}

// Page is the result of a Query.
type Page struct {
	Total        int              // that match, on all pages
	ChainHead    events.ChainHead // of the study in the state that was read; zero for an unknown study
	Position     uint64           // study number at which the study is shown
	Reports      []Report         // from Offset, at most Limit
	Joined       []byte           // in place of Reports, if there are any and they are joined
	Observations []Observation    // likewise; or those of Reports, if they are included
}
