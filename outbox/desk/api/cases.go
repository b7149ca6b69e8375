package api

import (
	"math"
	"net/http"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// study returns the list of the one study with this id. The error is NotFound if it is not
// granted to the caller.
func (c caller) study(id string) ([]string, error) {
	study, ok := events.StudyWithKey(c.studies, events.StudyKey(id))
	if !ok {
		return nil, hidden(events.NotFound, "study", id)
	}
	return []string{study}, nil
}

// caseOf returns the study and the number of the case that the path names. The error is
// NotFound if the caller is not granted the study.
func caseOf(q *request) (study string, number int32, err error) {
	key, text := q.PathValue("key"), q.PathValue("case")
	study, ok := events.StudyWithKey(q.caller.studies, key)
	n, err := strconv.ParseInt(text, 10, 32)
	if !ok || err != nil || n < 1 || text != strconv.FormatInt(n, 10) {
		return "", 0, hidden(events.NotFound, "case", key+"/"+text)
	}
	return study, int32(n), nil
}

// caseFacts is what is shown of a case.
type caseFacts struct {
	Study    string       `json:"study"`
	StudyKey string       `json:"studyKey"`
	Case     int32        `json:"case"`
	Subject  string       `json:"subject"`
	Revision int32        `json:"revision"` // the highest ever signed; 0 for none
	Stamp    string       `json:"stamp"`
	Visits   []visitFacts `json:"visits"`
}

// visitFacts is what is shown of a visit of a case.
type visitFacts struct {
	review.Visit
	ETag     string         `json:"etag"`              // of the assessment, with its quotes
	Signable bool           `json:"signable"`          // whether the waiting version can be signed
	InForce  string         `json:"inForce,omitempty"` // the state of the version that counts: waiting or signed; absent for none
	Check    *review.Result `json:"check,omitempty"`
}

// readCase answers with a case.
func (a *API) readCase(w http.ResponseWriter, q *request) error {
	if _, err := query(q); err != nil {
		return err
	}
	study, n, err := caseOf(q)
	if err != nil {
		return err
	}
	c, err := a.outbox.Reviews().Case(q.Context(), study, n)
	if err != nil {
		return hidden(err, "case", q.PathValue("key")+"/"+q.PathValue("case"))
	}
	facts := caseFacts{Study: c.Study, StudyKey: c.StudyKey, Case: c.Number, Subject: c.Subject, Revision: c.Revision, Stamp: c.Stamp, Visits: []visitFacts{}}
	checked := a.outbox.Reviews().CheckOf(c)
	for _, v := range c.Visits {
		shown := visitFacts{Visit: v, ETag: etag(c.Tag(v.ID)), Signable: c.Signable(v)}
		if version := c.InForce(v); version != nil {
			result := review.ResultOf(checked[v.ID])
			shown.InForce, shown.Check = version.State, &result
		}
		facts.Visits = append(facts.Visits, shown)
	}
	return writeJSON(w, http.StatusOK, facts)
}

// checkedVisit is a visit with findings.
type checkedVisit struct {
	Case       int32  `json:"case"`
	Assessment string `json:"assessment"`
	review.Result
}

// check answers with the findings of a study.
func (a *API) check(w http.ResponseWriter, q *request) error {
	values, err := query(q, "study", "case")
	if err != nil {
		return err
	}
	if err := required("study", values.Get("study")); err != nil {
		return err
	}
	n, err := number(values, "case", 1, math.MaxInt32)
	if err != nil {
		return err
	}
	studies, err := q.caller.study(values.Get("study"))
	if err != nil {
		return err
	}
	checked, err := a.outbox.Reviews().Check(q.Context(), review.WaitingFilter{Study: studies[0], Case: int32(n)})
	if err != nil {
		return err
	}
	answer := struct {
		Study  string                `json:"study"`
		Visits int                   `json:"visits"` // that were checked
		Counts []review.FindingCount `json:"counts"`
		Items  []checkedVisit        `json:"items"` // those with findings
	}{studies[0], len(checked), review.CountFindings(checked), []checkedVisit{}}
	for _, v := range checked {
		if len(v.Result.Findings) > 0 {
			answer.Items = append(answer.Items, checkedVisit{v.Assessment.Case.ID, v.Assessment.ID, review.ResultOf(v.Result)})
		}
	}
	return writeJSON(w, http.StatusOK, answer)
}
