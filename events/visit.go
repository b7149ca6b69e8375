package events

// Submission is an assessment that is to be registered.
type Submission struct {
	Assessment Assessment
	Visit      *Visit // nil unless the assessment comes from SDTM
}

// Visit identifies the SDTM records from which an assessment was made. By it a later
// import of the same visit finds the assessment again.
type Visit struct {
	Evaluator string `json:"evaluator"`      // EVAL or EVAL/EVALID
	Number    string `json:"number"`         // VISITNUM as text
	Date      string `json:"date,omitempty"` // TRDTC, where the visit is split by date
}

// KnownVisit is an assessment that the outbox has stored already.
type KnownVisit struct {
	Latest    Assessment // its highest registered version, waiting or signed
	Signed    bool       // whether that version is signed
	Withdrawn bool       // whether that version was signed and then withdrawn
	Visit     *Visit     // nil where it did not come from SDTM
}
