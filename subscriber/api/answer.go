package api

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// search answers {base}/DiagnosticReport?researchstudy=…. The study's head decides
// whether the client or the page cache has the answer already, without the read
// model's file, because most polls find nothing new.
func (a *API) search(w http.ResponseWriter, r *request) error {
	study, err := chooseStudy(r.pairs, r.partner.Granted)
	if err != nil {
		return err
	}
	s, err := a.parseSearch(study, r.pairs, r.strict)
	if err != nil {
		return err
	}
	head, known := a.reader.Head(s.query.Study)
	tag := a.searchTag(s, r.contentType, head)
	if known && a.writeKnown(w, r, tag) {
		return nil
	}
	found, err := a.reader.Search(r.Context(), s.query)
	if err != nil {
		return err
	}
	head.ChainHead = found.ChainHead // the head that was read before may be an earlier one
	if tag = a.searchTag(s, r.contentType, head); notModified(r.Request, tag) {
		writeNotModified(w, r.contentType, tag, time.Time{})
		return nil
	}
	set, err := a.searchset(s, found)
	if err != nil {
		return err
	}
	p := &page{body: set.Append(make([]byte, 0, set.Size()))}
	setValidators(w.Header(), r.contentType, tag, time.Time{})
	if known && a.pages.add(tag, p) {
		a.pages.write(w, r.Request, tag, p)
	} else {
		write(w, p.body)
	}
	return nil
}

// writeKnown answers with 304 if the client has the answer with the tag, or from
// the page cache, and reports whether it did.
func (a *API) writeKnown(w http.ResponseWriter, r *request, tag string) bool {
	if notModified(r.Request, tag) {
		writeNotModified(w, r.contentType, tag, time.Time{})
		return true
	}
	p, ok := a.pages.get(tag)
	a.metrics.pages.WithLabelValues(resultOf(ok)).Inc()
	if ok {
		setValidators(w.Header(), r.contentType, tag, time.Time{})
		a.pages.write(w, r.Request, tag, p)
	}
	return ok
}

func (a *API) searchset(s search, page readmodel.Page) (fhir.Searchset, error) {
	set := fhir.Searchset{Study: s.study, Total: page.Total, Links: a.links(s, page.Total)}
	prefix := a.base + "?researchstudy=" + fhir.EscapeQuery(s.study) + "&_Id="
	if len(page.Reports) > 0 {
		set.Entries = make([]fhir.Entry, len(page.Reports))
	}
	for i, report := range page.Reports {
		resource, err := s.view.of(report.Body)
		if err != nil {
			return fhir.Searchset{}, err
		}
		set.Entries[i] = fhir.Entry{FullURL: prefix + report.ID, Resource: resource}
	}
	return set, nil
}

// links returns the links that apply, in the order self, first, last, previous,
// next. For a page behind the last one, previous is the last page.
func (a *API) links(s search, total int) []fhir.Link {
	link := func(relation string, page int) fhir.Link {
		return fhir.Link{Relation: relation, URL: a.base + "?" + s.queryOf(page)}
	}
	links := []fhir.Link{link("self", s.page)}
	if s.totalOnly {
		return links
	}
	last := max(1, (total+s.count-1)/s.count)
	links = append(links, link("first", 1), link("last", last))
	if s.page > 1 {
		links = append(links, link("previous", min(s.page-1, last)))
	}
	if s.page < last {
		links = append(links, link("next", s.page+1))
	}
	return links
}

// read answers {base}/DiagnosticReport/{id}.
func (a *API) read(w http.ResponseWriter, r *request, id string) error {
	var s search
	if err := s.parseAll(readParameters(), r.pairs, r.strict); err != nil {
		return err
	}
	report, err := a.granted(r, id)
	if err != nil {
		return err
	}
	tag := reportTag(report)
	if notModified(r.Request, tag) {
		writeNotModified(w, r.contentType, tag, report.LastUpdated)
		return nil
	}
	body, err := s.view.of(report.Body)
	if err != nil {
		return err
	}
	setValidators(w.Header(), r.contentType, tag, report.LastUpdated)
	write(w, body)
	return nil
}

// granted returns an available report of a study that is granted to the partner.
// For a report of another study the error is the same as for an unknown report.
func (a *API) granted(r *request, id string) (readmodel.Report, error) {
	if !events.ValidFHIRID(id) {
		return readmodel.Report{}, noSuchReport()
	}
	report, err := a.reader.Report(r.Context(), id)
	switch code := events.CodeOf(err); {
	case code == events.NotFound, (err == nil || code == events.Outdated) && !grantedKey(r.partner, report.Study):
		return readmodel.Report{}, a.noReport(r)
	case err != nil:
		return readmodel.Report{}, err
	case !report.Available:
		return readmodel.Report{}, events.Errorf(events.Gone, "The report is no longer available: it was superseded or withdrawn.")
	}
	return report, nil
}

func noSuchReport() error { return events.Errorf(events.NotFound, "There is no such report.") }

// noReport returns the error for a report that none of the partner's studies
// has. If one of these studies has an event of an unknown kind, the report may be
// in it, and the error is Outdated. Other studies do not matter, so that the
// answer does not show what they have.
func (a *API) noReport(r *request) error {
	outdated, err := a.reader.Outdated(r.Context())
	if err != nil {
		return err
	}
	for key, unknown := range outdated {
		if grantedKey(r.partner, key) {
			return events.Errorf(events.Outdated, "study %s has an event of the type %s, which this version does not know, and it may be about the report", key, unknown)
		}
	}
	return noSuchReport()
}

// grantedKey reports whether the study with the key is granted to the partner.
func grantedKey(partner access.Partner, key string) bool {
	return slices.ContainsFunc(partner.Studies, func(study string) bool {
		return events.StudyKey(study) == key && partner.Granted(study)
	})
}

// write sends a whole body. An error means that the client has gone, and is
// ignored.
func write(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
