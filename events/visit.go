package events

// Submission is an assessment as a source hands it over for registration.
type Submission struct {
	Assessment Assessment
	Visit      *Visit // where it comes from SDTM; else nil
}

// Visit identifies the SDTM records an assessment was made from, so that a
// later import of the same visit finds the same assessment.
type Visit struct {
	Evaluator string `json:"evaluator"`      // EVAL or EVAL/EVALID
	Number    string `json:"number"`         // VISITNUM as text
	Date      string `json:"date,omitempty"` // TRDTC, where the visit is split by date
}

// KnownVisit is what the outbox holds of an assessment of a study.
type KnownVisit struct {
	Latest    Assessment // its highest registered version, waiting or signed
	Signed    bool       // whether that version is signed
	Withdrawn bool       // whether that version was signed and then withdrawn
	Visit     *Visit     // nil where it did not come from SDTM
}
