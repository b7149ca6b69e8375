package desk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/desk/metrics"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// channel is what the audit trail records of a signature on these pages.
const channel = "desk"

// signForm is the form by which visits of a case are signed, and the one by which a visit
// is returned to its source.
type signForm struct {
	Case     review.Case
	Path     string // of the case
	Visits   []signVisit
	Several  bool   // whether the PI chooses among the visits
	Revision int32  // of the case, that is signed
	Closed   string // why nothing can be signed; empty if something can be

	TakenBack string // what is taken back by the sign-off, because the case revision rises
	ElseToo   bool   // also what of the visits the PI does not choose
	Partners  int    // that the study is granted to; -1 if that cannot be read
	Parked    bool

	Meaning     meaningField
	Credentials credentialFields
	Problem     *page.Problem

	Returns       []review.Visit // that wait
	Returned      string         // the id that was chosen to be returned
	ReturnReason  string
	ReturnProblem string
}

// signVisit is a visit that can be signed.
type signVisit struct {
	review.Visit
	Chosen         bool
	Contradictions []recist.Finding
	Reason         string // typed before
	Problem        string // about the reason
}

// Self returns path and query of the page with the chosen visits.
func (f signForm) Self() string {
	chosen := url.Values{}
	for _, v := range f.Visits {
		if v.Chosen {
			chosen.Add("sign", v.ID)
		}
	}
	return strings.TrimSuffix(f.Path+"?"+chosen.Encode(), "?")
}

// Title returns what the sign-off is of.
func (f signForm) Title() string {
	if len(f.Visits) == 1 {
		return f.Visits[0].Waiting.Assessment.Name
	}
	return "the chosen visits"
}

// meaningField is the field for the meaning of a signature.
type meaningField struct {
	Prefix  string   // of the ids of its elements
	Fixed   []string // to choose from
	Chosen  string   // one of them, or ownMeaning; empty for none
	Own     string   // typed
	Problem string
}

// credentialFields are the fields for the password and, before the first signature of a
// session, for the user name.
type credentialFields struct {
	Prefix          string // of the ids of its elements
	First           bool   // whether the user name is asked for
	User            string // typed before
	Name            string // of the PI, as printed
	Until           time.Time
	UserProblem     string
	PasswordProblem string
}

// ownMeaning is the choice of a meaning in one's own words.
const ownMeaning = "own"

// signMeanings are the meanings of a sign-off that a PI may choose. None is chosen before.
var signMeanings = []string{"I have reviewed and approve this assessment.", "I take responsibility for this assessment."}

// meaningFieldOf returns the field with what was typed before.
func meaningFieldOf(prefix string, fixed []string, p *page.Problem, typed url.Values) meaningField {
	return meaningField{prefix, fixed, typed.Get("meaning"), typed.Get("own"), p.At(prefix + "meaning")}
}

// meaningOf returns the meaning that a form has.
func meaningOf(form url.Values) string {
	meaning := form.Get("meaning")
	if meaning == "" || meaning == ownMeaning {
		meaning = form.Get("own")
	}
	return signing.Line(meaning)
}

// credentialFieldsOf returns the fields with what was typed before, but never a password.
func (d *Desk) credentialFieldsOf(q *request, prefix string, p *page.Problem, typed url.Values) credentialFields {
	return credentialFields{
		prefix, !d.sessions.Signed(q.session), typed.Get("user"), q.pi.Name, d.sessions.Until(q.session),
		p.At(prefix + "user"), p.At(prefix + "password"),
	}
}

// signForm returns the form for a case that the PI is granted. The check of the case is
// checked. Chosen has the ids of the visits to be signed, or "all"; without any it is the
// earliest visit that can be. Typed is the form that was sent and refused, or nil.
func (d *Desk) signForm(q *request, c review.Case, checked map[string]recist.Visit, chosen []string, p *page.Problem, typed url.Values) signForm {
	f := signForm{
		Case: c, Path: casePath(c.StudyKey, c.Number), Partners: d.countPartners(q.Context(), c.Study), Parked: d.parked(q.Context(), c.Study),
		Meaning: meaningFieldOf("sign-", signMeanings, p, typed), Credentials: d.credentialFieldsOf(q, "sign-", p, typed),
		Problem: p, Returned: typed.Get("return"), ReturnReason: typed.Get("return-reason"), ReturnProblem: p.At("return-reason"),
	}
	for _, v := range c.Visits {
		if v.Waiting != nil {
			f.Returns = append(f.Returns, v)
		}
	}
	offered := signable(c)
	if len(offered) == 0 {
		f.Closed = whyClosed(c)
		return f
	}
	if typed.Has("stamp") {
		chosen = typed["sign"]
	} else if !slices.ContainsFunc(offered, func(v review.Visit) bool { return slices.Contains(chosen, v.ID) || slices.Contains(chosen, "all") }) {
		chosen = []string{offered[0].ID}
	}
	for _, v := range offered {
		s := signVisit{Visit: v, Chosen: len(offered) == 1 || slices.Contains(chosen, "all") || slices.Contains(chosen, v.ID)}
		for _, finding := range checked[v.ID].Findings {
			if finding.Level == recist.Contradiction {
				s.Contradictions = append(s.Contradictions, finding)
			}
		}
		s.Reason, s.Problem = typed.Get("reason."+v.ID), p.At("reason-"+v.ID)
		f.Visits = append(f.Visits, s)
	}
	f.Several, f.Revision = len(offered) > 1, offered[0].Waiting.Assessment.Case.Revision
	if c.Revision > 0 && f.Revision > c.Revision {
		f.TakenBack, f.ElseToo = takenBack(c, offered)
	}
	return f
}

// signable returns the visits that are offered for a sign-off: those that the outbox would
// sign together, of the highest case revision.
func signable(c review.Case) (visits []review.Visit) {
	var revision int32
	for _, v := range c.Visits {
		if c.Signable(v) {
			revision = max(revision, v.Waiting.Assessment.Case.Revision)
		}
	}
	for _, v := range c.Visits {
		if c.Signable(v) && v.Waiting.Assessment.Case.Revision == revision {
			visits = append(visits, v)
		}
	}
	return visits
}

// whyClosed returns why nothing of the case can be signed.
func whyClosed(c review.Case) string {
	for _, v := range c.Visits {
		switch {
		case v.Waiting == nil:
		case v.Waiting.Assessment.Subject != c.Subject:
			return fmt.Sprintf("%s (%s) waits for another subject than that of the case. Its source has to register it again.", v.Waiting.Assessment.Name, v.ID)
		case v.Waiting.Assessment.Case.Revision < c.Revision:
			return fmt.Sprintf("%s (%s) waits in revision %d, but the case has moved on to revision %d. Its source has to register it in that revision.",
				v.Waiting.Assessment.Name, v.ID, v.Waiting.Assessment.Case.Revision, c.Revision)
		default:
			return fmt.Sprintf("%s (%s) waits in a lower revision than the one that was signed.", v.Waiting.Assessment.Name, v.ID)
		}
	}
	return "Nothing of this case waits for a signature."
}

// takenBack returns the visits of the case that are available and that a sign-off of those
// offered, in a higher case revision, takes back; and whether some of those offered are
// taken back too if they are not chosen.
func takenBack(c review.Case, offered []review.Visit) (list string, elseToo bool) {
	var names []string
	for _, v := range c.Visits {
		switch {
		case v.Signed == nil || !v.Signed.Available:
		case slices.ContainsFunc(offered, func(o review.Visit) bool { return o.ID == v.ID }):
			elseToo = len(offered) > 1
		default:
			names = append(names, fmt.Sprintf("%s (%s)", v.Signed.Assessment.Name, v.ID))
		}
	}
	return join(names), elseToo
}

// join returns a list as part of a sentence.
func join(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// countPartners returns to how many partners a study is granted, or -1 if that cannot be
// read.
func (d *Desk) countPartners(ctx context.Context, study string) (n int) {
	partners, err := d.outbox.Accounts().Partners(ctx)
	if err != nil {
		d.cfg.Log.WarnContext(ctx, "cannot count partners", "cause", err)
		return -1
	}
	for _, p := range partners {
		if p.Granted(study) {
			n++
		}
	}
	return n
}

// parked reports whether the study's events are not published at the moment.
func (d *Desk) parked(ctx context.Context, study string) bool {
	parked, err := d.outbox.Parked(ctx)
	if err != nil {
		d.cfg.Log.WarnContext(ctx, "cannot list parked studies", "cause", err)
	}
	return slices.ContainsFunc(parked, func(p outbox.ParkedStudy) bool { return p.Study == study })
}

// casePath returns the path of a case.
func casePath(key string, number int32) string { return "/cases/" + key + "/" + fmt.Sprint(number) }

// grantedCase returns the study and the number of the case that the path names. The error
// is NotFound unless the PI is granted the study.
func grantedCase(q *request) (study string, number int32, err error) {
	key, n := q.PathValue("key"), caseNumber(q)
	i := slices.IndexFunc(q.pi.Studies, func(study string) bool { return events.StudyKey(study) == key })
	if i < 0 || n == 0 {
		return "", 0, errNoCase
	}
	return q.pi.Studies[i], n, nil
}

// caseNumber returns the case number in the path, or 0 if it is none.
func caseNumber(q *request) int32 {
	text := q.PathValue("case")
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 || text != strconv.FormatInt(n, 10) {
		return 0
	}
	return int32(n)
}

// What is not granted has the same answer as what does not exist.
var (
	errNoCase       = events.Errorf(events.NotFound, "No case that you may see has this address.")
	errNoAssessment = events.Errorf(events.NotFound, "No assessment that you may see has this address.")
)

// hidden returns notFound for an error that is NotFound or Forbidden, and others as they
// are.
func hidden(err error, notFound *events.Error) error {
	if code := events.CodeOf(err); code == events.NotFound || code == events.Forbidden {
		return &events.Error{Code: notFound.Code, Message: notFound.Message, Err: err}
	}
	return err
}

// signOff signs the versions that the form has.
func (d *Desk) signOff(w http.ResponseWriter, q *request) error {
	r := signOffRequest(q)
	refused := outbox.SignOff{User: r.User, Meaning: r.Meaning}
	for _, item := range r.Items {
		refused.IDs = append(refused.IDs, item.ID)
	}
	study, n, err := grantedCase(q)
	var c review.Case
	if err == nil {
		c, err = d.outbox.Reviews().Case(q.Context(), study, n)
	}
	if err != nil {
		return d.outbox.RecordRefusal(q.Context(), refused, hidden(err, errNoCase))
	}
	again := func(status int, p *page.Problem) error { return d.writeCase(w, q, status, c, p, q.PostForm, "") }
	// A case that has changed is shown before anything else: what is wrong with the form may
	// not be with the next one, and the password is for what the PI has seen.
	if stale(c, r) {
		err := events.Errorf(events.Stale, "case %d of study %s has changed since it was read, and nothing was signed", c.Number, c.Study)
		_ = d.outbox.RecordRefusal(q.Context(), refused, err)
		return d.writeCase(w, q, http.StatusPreconditionFailed, c, d.changed(q, c, refused.IDs), q.PostForm, r.Stamp)
	}
	r.Checked = c.Check()
	if items := append(signProblems(c, r), d.missingCredentials(q, "sign-")...); len(items) > 0 {
		if len(signable(c)) == 0 { // a form that was sent again; it is not shown again
			for i := range items {
				items[i].Field = ""
			}
		}
		return again(http.StatusBadRequest, problem(items...))
	}
	if err := d.confirm(w, q); err != nil {
		if !q.signedIn() {
			return err
		}
		if events.CodeOf(err) == events.Forbidden {
			_ = d.outbox.RecordRefusal(q.Context(), refused, err)
		}
		return refuseCredentials(err, "sign-", again)
	}
	s, err := signing.SignOff(c, r)
	if err != nil {
		err = d.outbox.RecordRefusal(q.Context(), s, err)
	} else {
		var signed []outbox.Signed
		if signed, err = d.outbox.SignOff(q.Context(), s); err == nil {
			d.sessions.SetSigned(q.session)
			d.countSignatures(c, r.Checked, s)
			return d.seeReceipt(w, q, c, s.IDs[0], signed)
		}
	}
	return d.refuseSignOff(w, q, r, err)
}

// seeReceipt redirects to the receipt of a sign-off, by the event of the assessment.
func (d *Desk) seeReceipt(w http.ResponseWriter, q *request, c review.Case, id string, signed []outbox.Signed) error {
	i := slices.IndexFunc(signed, func(s outbox.Signed) bool { return s.ID == id })
	if i < 0 {
		return errors.New("the outbox has not answered for assessment " + id)
	}
	http.Redirect(w, q.Request, casePath(c.StudyKey, c.Number)+"?"+url.Values{"signed": {signed[i].Event}}.Encode(), http.StatusSeeOther)
	return nil
}

// refuseSignOff shows the case again after a sign-off of it was refused with err. It reads
// the case again, because another PI may have signed meanwhile.
func (d *Desk) refuseSignOff(w http.ResponseWriter, q *request, r signing.Request, err error) error {
	status, _ := rest.StatusOf(err)
	if status >= http.StatusInternalServerError {
		return err // the page of the error asks to look at the case before signing again
	}
	study, n, notGranted := grantedCase(q)
	if notGranted != nil || status == http.StatusNotFound || status == http.StatusForbidden { // the grant has ended meanwhile
		return hidden(err, errNoCase)
	}
	c, readErr := d.outbox.Reviews().Case(q.Context(), study, n)
	if readErr != nil {
		return readErr
	}
	p, seen := &page.Problem{Title: "Nothing was signed"}, ""
	switch {
	case errors.Is(err, outbox.ErrClock):
		p.Title = "Nothing was signed, because the clock of the server is wrong"
		p.Items = []page.ProblemItem{{Text: "The operator of the server can help. What you typed is kept here, but not the password."}}
	case c.Stamp != r.Stamp:
		var ids []string
		for _, item := range r.Items {
			ids = append(ids, item.ID)
		}
		p, seen = d.changed(q, c, ids), r.Stamp
	}
	if events.CodeOf(err) != events.Stale {
		p.Items = append(p.Items, page.ProblemItem{Text: sentence(err)})
	}
	return d.writeCase(w, q, status, c, p, q.PostForm, seen)
}

// signOffRequest returns the sign-off that the form asks for.
func signOffRequest(q *request) signing.Request {
	form := q.PostForm
	r := signing.Request{
		User: q.pi.User, Meaning: meaningOf(form), Stamp: form.Get("stamp"), TraceParent: q.Header.Get("Traceparent"), Channel: channel,
	}
	for _, id := range form["sign"] {
		if !slices.ContainsFunc(r.Items, func(i signing.Item) bool { return i.ID == id }) {
			r.Items = append(r.Items, signing.Item{ID: id, Digest: form.Get("digest." + id), Reason: signing.Line(form.Get("reason." + id))})
		}
	}
	return r
}

// stale reports whether something that the form asks to be signed is not as the PI has seen
// it. What was signed before, and is asked for again, is not stale.
func stale(c review.Case, r signing.Request) bool {
	for _, item := range r.Items {
		i := slices.IndexFunc(c.Visits, func(v review.Visit) bool { return v.ID == item.ID })
		switch {
		case i < 0:
			return true
		case c.Visits[i].Signed != nil && c.Visits[i].Signed.Digest == item.Digest:
		case c.Visits[i].Waiting == nil || c.Visits[i].Waiting.Digest != item.Digest || c.Stamp != r.Stamp:
			return true
		}
	}
	return len(r.Items) == 0 && c.Stamp != r.Stamp
}

// changed returns the problem of a form whose case has changed since.
func (d *Desk) changed(q *request, c review.Case, ids []string) *page.Problem {
	title := "This case changed; nothing was signed"
	if at := d.lastChange(q.Context(), c, ids); !at.IsZero() {
		title = "This case changed at " + at.UTC().Format("15:04") + " UTC; nothing was signed"
		if at.UTC().Format(time.DateOnly) != q.now.UTC().Format(time.DateOnly) {
			title = "This case changed at " + page.UTC(at) + "; nothing was signed"
		}
	}
	return &page.Problem{Title: title, Items: []page.ProblemItem{{Text: "Look at it as it is now. What you typed is kept, but not the password."}}}
}

// lastChange returns when the case changed last, as far as its visits and the assessments
// with these ids show it.
func (d *Desk) lastChange(ctx context.Context, c review.Case, ids []string) (last time.Time) {
	later := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	for _, v := range c.Visits {
		if v.Waiting != nil {
			later(v.Waiting.Registered)
		}
		if v.Signed != nil {
			later(v.Signed.Signature.Time)
			if v.Signed.Withdrawal != nil {
				later(v.Signed.Withdrawal.Time)
			}
		}
	}
	for _, id := range ids { // one that was returned is no visit
		lines, err := d.outbox.Reviews().Trail(ctx, id)
		if err != nil {
			d.cfg.Log.WarnContext(ctx, "cannot read when a case changed", "cause", err)
		}
		for _, l := range lines {
			if l.Action == "assessment.returned" || l.Action == "assessment.moved" {
				later(l.Time)
			}
		}
	}
	return last
}

// signProblems returns what is missing from a sign-off, or malformed. A visit that
// contradicts RECIST 1.1, by r.Checked, needs a reason.
func signProblems(c review.Case, r signing.Request) (items []page.ProblemItem) {
	if len(r.Items) == 0 {
		items = append(items, page.ProblemItem{Field: "sign-visits", Text: "Choose at least one visit to sign."})
	}
	for _, item := range r.Items {
		i := slices.IndexFunc(c.Visits, func(v review.Visit) bool { return v.ID == item.ID })
		waits := i >= 0 && c.Visits[i].Waiting != nil && c.Visits[i].Waiting.Digest == item.Digest
		switch {
		case !waits: // it was signed before, with the reason of then
		case item.Reason != "":
			items = appendTextProblem(items, "reason-"+item.ID, "The reason", events.ValidReason(item.Reason))
		case r.Checked[item.ID].Contradicts():
			items = append(items, page.ProblemItem{
				Field: "reason-" + item.ID, Text: "Say why " + c.Visits[i].Waiting.Assessment.Name + " stands as recorded, although it contradicts RECIST 1.1.",
			})
		}
	}
	return appendMeaningProblem(items, "sign-meaning", r.Meaning)
}

func appendMeaningProblem(items []page.ProblemItem, field, meaning string) []page.ProblemItem {
	if meaning == "" {
		return append(items, page.ProblemItem{Field: field, Text: "Choose what your signature means, or write it."})
	}
	return appendTextProblem(items, field, "The meaning", events.ValidMeaning(meaning))
}

// appendTextProblem appends what is wrong with a text that was typed, if err is not nil.
func appendTextProblem(items []page.ProblemItem, field, what string, err error) []page.ProblemItem {
	var e *events.Error
	if !errors.As(err, &e) {
		return items
	}
	return append(items, page.ProblemItem{Field: field, Text: what + " " + e.Message + "."})
}

// missingCredentials returns which of the credentials of a signature the form lacks.
func (d *Desk) missingCredentials(q *request, prefix string) (items []page.ProblemItem) {
	if q.PostForm.Get("user") == "" && !d.sessions.Signed(q.session) {
		items = append(items, page.ProblemItem{Field: prefix + "user", Text: "Type your user name: this is the first signature since you signed in."})
	}
	if q.PostForm.Get("password") == "" {
		items = append(items, page.ProblemItem{Field: prefix + "password", Text: "Type your password: it is your signature."})
	}
	return items
}

// confirm checks the user name and the password in the form, for a signature of the PI of
// the session. The error is about the field "user" or "password". If it is the wrong
// password that locks the PI's name at this address, the session ends.
func (d *Desk) confirm(w http.ResponseWriter, q *request) error {
	if user := q.PostForm.Get("user"); user != "" && user != q.pi.User {
		// The password is not checked, so that nobody can try those of others here.
		return &events.Error{Code: events.Forbidden, Field: "user", Message: "This is not your user name; nobody can sign for another. Nothing was signed."}
	}
	_, err := d.outbox.Accounts().Authenticate(q.Context(), q.pi.User, q.PostForm.Get("password"), q.address)
	switch events.CodeOf(err) {
	case events.Unauthenticated:
		var wrong *events.Error
		if errors.As(err, &wrong) && wrong.RetryAfter > 0 { // the name is locked from now on
			d.sessions.End(q.Context(), q.session, accounts.SessionLocked)
			q.session = nil
			setCookie(w, "")
			w.Header().Set("Retry-After", strconv.Itoa(int(wrong.RetryAfter.Seconds())))
			return &events.Error{Code: events.Throttled, Err: err, Message: "Five wrong passwords in a row: your name is locked on this computer for 15 minutes, and you are signed out. Nothing was signed."}
		}
		return &events.Error{Code: events.Unauthenticated, Field: "password", Message: "The password is wrong. Nothing was signed.", Err: err}
	case events.Forbidden, events.Throttled:
		return &events.Error{Code: events.CodeOf(err), Field: "password", Message: sentence(err) + " Nothing was signed.", Err: err}
	}
	return err
}

// refuseCredentials shows a form again for which confirm returned err.
func refuseCredentials(err error, prefix string, again func(int, *page.Problem) error) error {
	var e *events.Error
	if !errors.As(err, &e) || e.Field == "" {
		return err
	}
	status := http.StatusForbidden
	if e.Code == events.Throttled {
		status = http.StatusTooManyRequests
	}
	return again(status, problem(page.ProblemItem{Field: prefix + e.Field, Text: e.Message}))
}

// sentence returns the message of an error for the page.
func sentence(err error) string {
	var e *events.Error
	if !errors.As(err, &e) || e.Message == "" {
		return http.StatusText(http.StatusBadRequest) + "."
	}
	return strings.ToUpper(e.Message[:1]) + e.Message[1:] + "."
}

// countSignatures counts the versions that a sign-off of the case c has signed, and not
// those that were signed before.
func (d *Desk) countSignatures(c review.Case, checked map[string]recist.Visit, s outbox.SignOff) {
	for _, v := range c.Visits {
		if v.Waiting == nil || !slices.Contains(s.IDs, v.ID) || v.Waiting.Digest != s.Expected[v.ID].Digest {
			continue
		}
		result := metrics.Agrees
		switch findings := checked[v.ID].Findings; {
		case checked[v.ID].Contradicts():
			result = metrics.Contradicts
		case slices.ContainsFunc(findings, func(f recist.Finding) bool { return f.Level == recist.Judgement }):
			result = metrics.Judgement
		}
		d.metrics.CountSignature(result)
	}
}
