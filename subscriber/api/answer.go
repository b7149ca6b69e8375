package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api/partnerlimit"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// search returns the answerer of {base}/{kind}?researchstudy=….
func (a *API) search(k *kind) answerer {
	return func(w http.ResponseWriter, r *request) error {
		study, err := chooseStudy(r.pairs, r.partner.Granted)
		if err != nil {
			return err
		}
		s, err := a.parseSearch(k, study, r.pairs, r.strict)
		if err != nil {
			return err
		}
		return a.answerPage(w, r, s, s.query.Study, (*API).findResources)
	}
}

// findResources returns the answer to a search.
func (a *API) findResources(ctx context.Context, s *search) (answered, error) {
	q := s.query
	if !s.view.partial {
		q.Join = &readmodel.Join{}
		q.Join.Before, q.Join.Between, q.Join.Separator, q.Join.End = fhir.EntryParts(a.fullURL(&a.reports, s.study))
	}
	found, err := a.reader.Search(ctx, q)
	if err != nil {
		return answered{}, err
	}
	set, err := a.searchset(s, found)
	return answered{head: found.ChainHead, bundle: set, rest: set.Joined}, err
}

// answered is an answer, and the chain head of the study that it reflects.
type answered struct {
	head   events.ChainHead
	bundle interface {
		Size() int // of what Append appends, at most
		Append(dst []byte) []byte
	}
	rest []byte // of the body, after what Append appends
}

// finder returns an answer from the model.
type finder func(a *API, ctx context.Context, s *search) (answered, error)

// answerPage writes a page of a search or of history. Most polls find nothing new: if
// the client or the page cache has the answer for the study's head, answerPage does not
// read the model's file. Otherwise it calls find, when the partner's other searches allow.
func (a *API) answerPage(w http.ResponseWriter, r *request, s *search, studyKey string, find finder) error {
	if err := a.waitFor(r, studyKey, s.minNumber); err != nil {
		return err
	}
	head, known := a.reader.Head(studyKey)
	if err := a.checkHead(r, s, studyKey, head, known); err != nil {
		return err
	}
	tag := a.searchTag(s, r.contentType, head)
	if known && !s.isBeyond(head.Number) && a.writeKnown(w, r, tag, head.Number) {
		return nil
	}
	made := newPage{head: head, known: known}
	err := a.limited(r, s, func(ctx context.Context) error { return a.makePage(ctx, r, s, studyKey, find, &made) })
	if err != nil {
		return err
	}
	setValidators(w.Header(), r.contentType, made.tag, made.head.Number)
	switch {
	case made.unchanged:
		w.WriteHeader(http.StatusNotModified)
	case made.page != nil:
		a.pages.write(w, r.Request, made.tag, made.page)
	default:
		write(w, *made.buffer, made.rest)
		a.buffers.put(made.buffer)
	}
	return nil
}

// newPage is a page that is made from the model.
type newPage struct {
	head  readmodel.Head // of the study, that the page reflects; before it is made, the head that was read
	known bool           // whether that head was known
	tag   string

	// The page is one of these.
	unchanged bool    // the client has it
	page      *page   // of the page cache
	buffer    *[]byte // of buffers; rest follows
	rest      []byte
}

// makePage calls find and sets made to the page. It stores the page in the page cache, if
// that accepts it, compressed if the client accepts that.
func (a *API) makePage(ctx context.Context, r *request, s *search, studyKey string, find finder, made *newPage) error {
	found, err := find(a, ctx, s)
	if err == nil && found.head != made.head.ChainHead {
		err = a.cfg.Signed(ctx, studyKey, found.head)
	}
	if err != nil {
		return err
	}
	made.head.ChainHead = found.head // the head that was read before may be an earlier one
	made.tag = a.searchTag(s, r.contentType, made.head)
	if made.unchanged = notModified(r.Request, made.tag); made.unchanged {
		return nil
	}
	size := found.bundle.Size()
	if !made.known || !a.pages.accepts(size+len(found.rest)) {
		made.rest = found.rest
		made.buffer = a.buffers.get(size)
		*made.buffer = found.bundle.Append(*made.buffer)
		return nil
	}
	made.page = &page{body: [][]byte{found.bundle.Append(make([]byte, 0, size)), found.rest}}
	a.pages.add(made.tag, made.page)
	a.pages.compressed(r.Request, made.tag, made.page)
	return nil
}

// limited calls read, which makes an answer from the model, once fewer than Config.Searches
// such calls run for the partner. It interrupts read after Config.SearchTimeout. The
// error is Throttled if read may not run, and Unavailable if it was interrupted. What
// makes an answer costly is in read; sending it is not, so that a slow connection does not
// keep others of the partner waiting.
//
// A search for a few ids does not wait and is not interrupted: clients resolve all
// references of a report at once, each by a search of its own.
func (a *API) limited(r *request, s *search, read func(context.Context) error) error {
	if s.findsFew() {
		return read(r.Context())
	}
	leave, err := a.searches.Enter(r.Context(), r.partner.ID)
	if errors.Is(err, partnerlimit.ErrTooMany) {
		a.metrics.refused.WithLabelValues(refusedTooMany).Inc()
		return &events.Error{
			Code: events.Throttled, Message: "Too many searches of the partner run at once; ask again later.", RetryAfter: a.cfg.SearchWait,
		}
	}
	if err != nil { // the caller has gone
		return err
	}
	defer leave()
	a.metrics.running.Inc()
	defer a.metrics.running.Dec()
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.SearchTimeout)
	defer cancel()
	err = read(ctx)
	if err != nil && ctx.Err() != nil && r.Context().Err() == nil {
		a.metrics.refused.WithLabelValues(refusedTooSlow).Inc()
		return &events.Error{
			Code: events.Unavailable, Message: "the search was interrupted after " + a.cfg.SearchTimeout.String(), Err: err, RetryAfter: 2 * a.cfg.SearchTimeout,
		}
	}
	return err
}

// checkHead returns an error if the study cannot be shown at its head, or no longer at the
// number that the search names. Known is false if the head is not known.
func (a *API) checkHead(r *request, s *search, studyKey string, head readmodel.Head, known bool) error {
	if known {
		if err := a.cfg.Signed(r.Context(), studyKey, head.ChainHead); err != nil {
			return err
		}
	}
	// Only searches have a kind; links of history do not expire.
	if n := s.asOf; n != nil && (!known || *n != head.Number) && s.kind != nil {
		return a.reader.CheckPosition(r.Context(), studyKey, *n, a.cfg.Clock().Add(-a.cfg.KeepPositions))
	}
	return nil
}

// isBeyond reports whether a query names a number that the study does not have yet. For
// that the read model returns an error.
func (s *search) isBeyond(last uint64) bool {
	return s.history.SinceNumber > last || s.asOf != nil && *s.asOf > last
}

// writeKnown answers with 304 if the client has the answer with the tag, or with the
// page if the page cache has it. It reports whether it has answered.
func (a *API) writeKnown(w http.ResponseWriter, r *request, tag string, number uint64) bool {
	unchanged := notModified(r.Request, tag)
	var p *page
	if !unchanged {
		var ok bool
		p, ok = a.pages.get(tag)
		a.metrics.pages.WithLabelValues(resultOf(ok)).Inc()
		if !ok {
			return false
		}
	}
	setValidators(w.Header(), r.contentType, tag, number)
	if unchanged {
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	a.pages.write(w, r.Request, tag, p)
	return true
}

// searchset returns the Bundle of a page of a search. Only included resources have a
// search mode other than match, and without _include none has a mode.
func (a *API) searchset(s *search, page readmodel.Page) (fhir.Searchset, error) {
	set := fhir.Searchset{Study: s.study, Total: page.Total, Links: links(s, page.Total, page.Position), Joined: page.Joined}
	match, include := "", ""
	if s.query.Include {
		match, include = "match", "include"
	}
	prefix := a.fullURL(&a.reports, s.study)
	for _, report := range page.Reports {
		resource, err := s.view.of(report.Body)
		if err != nil {
			return fhir.Searchset{}, err
		}
		set.Entries = append(set.Entries, fhir.Entry{FullURL: prefix + report.ID, Resource: resource, Mode: match})
	}
	prefix = a.fullURL(&a.observations, s.study)
	for _, o := range page.Observations {
		resource := o.Body
		if !s.query.Include { // in a search with _include, the view is for the reports only
			var err error
			if resource, err = s.view.of(o.Body); err != nil {
				return fhir.Searchset{}, err
			}
		}
		set.Entries = append(set.Entries, fhir.Entry{FullURL: prefix + fhir.EscapeQuery(o.Identifier), Resource: resource, Mode: include})
	}
	return set, nil
}

// fullURL returns the start of the fullUrls of a study's resources, up to the id.
func (a *API) fullURL(k *kind, study string) string {
	return k.url + "?" + paramStudy + "=" + fhir.EscapeQuery(study) + k.id
}

// links returns the links that apply, in the order self, first, last, previous,
// next. For a page behind the last one, previous is the last page. Position is the study
// number that this page shows. The links last, previous and next name it, self has the
// number of the request, and first has none.
func links(s *search, total int, position uint64) []fhir.Link {
	link := func(relation string, page int, asOf *uint64) fhir.Link {
		return fhir.Link{Relation: relation, URL: s.url + "?" + string(s.appendQuery(nil, page, asOf))}
	}
	links := []fhir.Link{link("self", s.page, s.asOf)}
	if s.totalOnly {
		return links
	}
	last := max(1, (total+s.count-1)/s.count)
	links = append(links, link("first", 1, nil), link("last", last, &position))
	if s.page > 1 {
		links = append(links, link("previous", min(s.page-1, last), &position))
	}
	if s.page < last {
		links = append(links, link("next", s.page+1, &position))
	}
	return links
}

// read answers {base}/DiagnosticReport/{id}.
func (a *API) read(w http.ResponseWriter, r *request, id string) error {
	return a.writeReport(w, r, id, a.reader.Report)
}

// writeReport answers with the version of a report that get returns, if it is available,
// and otherwise returns a Gone error.
func (a *API) writeReport(w http.ResponseWriter, r *request, id string, get func(ctx context.Context, id string) (readmodel.Report, error)) error {
	s := search{kind: &a.reports}
	if err := s.parseAll(readParameters(), r.pairs, r.strict); err != nil {
		return err
	}
	report, _, err := a.granted(r, id, get)
	if err != nil {
		return err
	}
	if !report.Available {
		return events.Errorf(events.Gone, "The report is no longer available: it was superseded or withdrawn.")
	}
	return writeOne(w, r, s.view, one{report.Version, report.LastUpdated, report.StudyHead.Number, report.Body})
}

// one is a version of a resource, for an answer without a Bundle.
type one struct {
	version     uint64
	lastUpdated time.Time
	studyNumber uint64
	body        []byte
}

// writeOne answers with the view of a resource, or with 304 if the client has it.
func writeOne(w http.ResponseWriter, r *request, v view, o one) error {
	tag := versionTag(o.version)
	setValidators(w.Header(), r.contentType, tag, o.studyNumber)
	w.Header().Set("Last-Modified", o.lastUpdated.UTC().Format(http.TimeFormat))
	if notModified(r.Request, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	body, err := v.of(o.body)
	if err != nil {
		return err
	}
	write(w, body)
	return nil
}

// granted returns a report of a study that is granted to the partner, and the id of
// the study. For a report of another study the error is the same as for an unknown
// report.
func (a *API) granted(r *request, id string, get func(ctx context.Context, id string) (readmodel.Report, error)) (report readmodel.Report, study string, err error) {
	if !events.ValidFHIRID(id) {
		return report, "", noSuchReport()
	}
	report, err = get(r.Context(), id)
	study = grantedStudy(r.partner, report.Study)
	// A report of an outdated study is named only to partners of that study.
	if code := events.CodeOf(err); code == events.NotFound || (err == nil || code == events.Outdated) && study == "" {
		return report, "", a.absent(r, noSuchReport())
	}
	if err == nil {
		err = a.cfg.Signed(r.Context(), report.Study, report.StudyHead)
	}
	return report, study, err
}

func noSuchReport() error { return events.Errorf(events.NotFound, "There is no such report.") }

// absent returns the error for a report or an Observation that none of the partner's
// studies has. If one of these studies has an event of an unknown kind, it may be
// about the resource, and the error is Outdated. Other studies do not matter, so that
// the answer does not show what they have.
func (a *API) absent(r *request, notFound error) error {
	outdated, err := a.reader.Outdated(r.Context())
	if err != nil {
		return err
	}
	for key, unknown := range outdated {
		if grantedStudy(r.partner, key) != "" {
			return events.Errorf(events.Outdated, "study %s has an event of the type %s, which this version does not know, and it may be about what was asked for", key, unknown)
		}
	}
	return notFound
}

// grantedStudy returns the id of the study with the key if it is granted to the
// partner, else nothing.
func grantedStudy(partner access.Partner, key string) string {
	i := slices.IndexFunc(partner.Studies, func(study string) bool {
		return events.StudyKey(study) == key && partner.Granted(study)
	})
	if i < 0 {
		return ""
	}
	return partner.Studies[i]
}

// write sends a whole body in its parts. An error means that the client has gone, and is
// ignored.
func write(w http.ResponseWriter, body ...[]byte) {
	w.Header().Set("Content-Length", strconv.Itoa(length(body)))
	for _, part := range body {
		_, _ = w.Write(part)
	}
}

func length(body [][]byte) (n int) {
	for _, part := range body {
		n += len(part)
	}
	return n
}
