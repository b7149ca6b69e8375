package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// numberHeader is the header with the study number that an answer reflects.
const numberHeader = "Crit-Study-Number"

// historyParameters returns the parameters of the history of a study, in the order in
// which links have them.
func historyParameters() []parameter {
	return withKeys(append(historyOfReportParameters(), parameter{name: paramStudy, parse: parsedBefore}))
}

// historyOfReportParameters returns the parameters of the history of one report. The
// study is not among them, because the report determines it.
func historyOfReportParameters() []parameter {
	return withKeys([]parameter{
		{name: "_since", single: true, normalize: restorePlus, parse: (*search).parseSince},
		{name: "_sinceNumber", single: true, parse: func(s *search, value string) (err error) {
			s.history.SinceNumber, err = parseStudyNumber(value)
			return err
		}},
		{name: "_sort", single: true, parse: (*search).parseDirection},
		{name: paramFormat, single: true, normalize: rest.FormatValue, parse: parsedBefore},
		{name: paramCount, single: true, parse: (*search).parseCount},
		minNumberParameter(),
		{name: paramPartner, single: true, parse: parsedBefore},
		asOfParameter(),
		{name: paramPage, single: true, parse: (*search).parsePage},
	})
}

// parseSince reads an instant, or a date for its first instant.
func (s *search) parseSince(value string) error {
	c, err := comparePeriod(readmodel.Ge, value)
	s.history.Since = c.Period.From
	return err
}

// parseDirection reads a value of _sort.
func (s *search) parseDirection(value string) error {
	name, descending := strings.CutPrefix(value, "-")
	if !strings.EqualFold(name, "_lastUpdated") {
		return events.Errorf(events.Invalid, "%q is not one of _lastUpdated and -_lastUpdated", shorten(value))
	}
	s.history.Ascending = !descending
	return nil
}

// history returns the answerer of {base}/_history and {base}/DiagnosticReport/_history.
func (a *API) history(path string, reportsOnly bool) answerer {
	return func(w http.ResponseWriter, r *request) error {
		study, err := chooseStudy(r.pairs, r.partner.Granted)
		if err != nil {
			return err
		}
		s := &search{url: a.base + path, study: study}
		s.history.ReportsOnly = reportsOnly
		return a.answerHistory(w, r, s, a.ofStudy)
	}
}

// historyOfReport answers {base}/DiagnosticReport/{id}/_history.
func (a *API) historyOfReport(w http.ResponseWriter, r *request, id string) error {
	_, study, err := a.granted(r, id, a.reader.Report)
	if err != nil {
		return err
	}
	// The links do not name the study, because the id in the path determines it.
	s := &search{url: a.reports.url + "/" + id + "/_history", study: study, withoutStudy: true}
	s.history.Report = id
	return a.answerHistory(w, r, s, a.ofReport)
}

// readVersion answers {base}/DiagnosticReport/{id}/_history/{n}.
func (a *API) readVersion(w http.ResponseWriter, r *request, id, number string) error {
	n, err := parseStudyNumber(number)
	if err != nil || strconv.FormatUint(n, 10) != number { // versionIds have no leading zeros
		return noSuchReport()
	}
	return a.writeReport(w, r, id, func(ctx context.Context, id string) (readmodel.Report, error) { return a.reader.Version(ctx, id, n) })
}

// answerHistory answers with a page of events. Links to further pages name the number
// of the last event that they show. So they always show the same events, because
// events are never removed.
func (a *API) answerHistory(w http.ResponseWriter, r *request, s *search, table []parameter) error {
	s.page, s.count, s.maxCount = 1, a.cfg.Count, a.cfg.MaxCount
	if err := s.parseAll(table, r.pairs, r.strict); err != nil {
		return err
	}
	s.history.Study, s.history.AsOf = events.StudyKey(s.study), s.asOf
	if !s.totalOnly {
		s.history.Limit, s.history.Offset = s.count, (s.page-1)*s.count
	}
	return a.answerPage(w, r, s, s.history.Study, (*API).findEvents)
}

// findEvents returns a page of history.
func (a *API) findEvents(ctx context.Context, s *search) (answered, error) {
	found, err := a.reader.History(ctx, s.history)
	if err != nil {
		return answered{}, err
	}
	h := fhir.History{Study: s.study, Total: found.Total, Links: links(s, found.Total, found.Position)}
	for _, e := range found.Entries {
		entry, err := a.historyEntry(e)
		if err != nil {
			return answered{}, err
		}
		h.Entries = append(h.Entries, entry)
	}
	return answered{head: found.ChainHead, bundle: h}, nil
}

// historyEntry returns an event as an entry of a history Bundle. The fullUrl of an
// event about a report is the report's address. That of any other event is the event's
// UUID: a Bundle of Observations has no id.
func (a *API) historyEntry(e readmodel.Entry) (fhir.HistoryEntry, error) {
	entry := fhir.HistoryEntry{
		Event: e.Event, DataDigest: e.DataDigest, FullURL: "urn:uuid:" + e.ID, Method: http.MethodPost, URL: e.Subject, Status: "201",
	}
	if e.Available {
		entry.Resource = e.Data
	}
	id, _, isReport := e.ReportID()
	switch e.Kind() {
	case events.ReportSigned:
		entry.Method, entry.Status = http.MethodPut, "201"
	case events.ReportAmended:
		entry.Method, entry.Status = http.MethodPut, "200"
	case events.ReportSuperseded, events.ReportWithdrawn:
		entry.Method, entry.Status = http.MethodDelete, "204"
	case events.ObservationsSigned:
		entry.URL, isReport = a.observations.name, false
	default:
		isReport = false
	}
	if isReport {
		entry.URL = a.reports.name + "/" + id
		entry.FullURL = a.base + "/" + entry.URL
	}
	if e.Withdrawn == nil {
		return entry, nil
	}
	var err error
	entry.Withdrawal, err = fhir.WithdrawalExtensions(e.Withdrawn)
	return entry, err
}

// The bounds of waiting for a number.
const (
	maxWait    = 2 * time.Second
	maxWaiting = 4 // requests of a partner
)

// waitFor waits until the read model has applied the study's event with the number. It
// returns a NotYet error after maxWait, or Unavailable at once if maxWaiting of the
// partner's requests wait already. For number 0 it does not wait.
func (a *API) waitFor(r *request, studyKey string, number uint64) error {
	if number == 0 {
		return nil
	}
	if head, known := a.reader.Head(studyKey); known && head.Number >= number {
		return nil
	}
	leave, err := a.waiting.Enter(r.Context(), r.partner.ID)
	if err != nil {
		return &events.Error{Code: events.Unavailable, Message: "the request cannot wait for a number", Err: err, RetryAfter: maxWait}
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), maxWait)
	defer cancel()
	err = a.reader.WaitForChainHead(ctx, studyKey, events.ChainHead{Number: number})
	if err != nil && ctx.Err() != nil {
		return &events.Error{Code: events.NotYet, Message: "the number is not applied yet", Err: err, RetryAfter: time.Second}
	}
	return err
}
