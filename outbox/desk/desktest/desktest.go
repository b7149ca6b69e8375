// Package desktest has an installation for tests of the desk: an outbox with PIs and cases,
// and the desk over it on a real TLS listener.
package desktest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/metrics"
)

// What every installation has.
const (
	Study    = "CDISC/PILOT01" // its key is another text
	Other    = "OTHER-01"
	Password = "correct horse battery"
	Meaning  = "I have reviewed and approve this assessment."

	User      = "rivera" // granted Study
	Name      = "Dr. Ana Rivera"
	OtherUser = "okafor" // granted Other
)

// Limits are those of a server in a test. They are so long that no client is cut off because
// the machine is busy.
var Limits = rest.ServerConfig{ReadHeaderTimeout: limit, ReadTimeout: limit, WriteTimeout: limit, IdleTimeout: limit}

// limit bounds how long a test waits for an answer, or for the end of a stream.
const limit = 5 * time.Minute

// Installation is an outbox with two PIs and the desk over it.
type Installation struct {
	t      testing.TB
	Path   string // of the outbox
	Outbox *outbox.Outbox
	Desk   *desk.Desk
	Server *httptest.Server

	Metrics *metrics.Metrics // of the desk

	// EndSessions ends all sessions, as the stop of the program does.
	EndSessions func()
}

// Clock is a clock that a test sets. It is used from several goroutines.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that shows a fixed time.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 2, 14, 10, 6, 31, 402118000, time.UTC)} }

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add sets the clock forward.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Install opens an installation. The outbox has the clock of cfg, and all parts its log.
func Install(t testing.TB, cfg desk.Config) *Installation {
	t.Helper()
	return InstallWith(t, cfg, outbox.Config{})
}

// InstallWith is Install with settings of the outbox.
func InstallWith(t testing.TB, cfg desk.Config, of outbox.Config) *Installation {
	t.Helper()
	in := &Installation{t: t, Path: filepath.Join(t.TempDir(), "outbox.db")}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	log := cfg.Log
	if cfg.Metrics == nil {
		cfg.Metrics = metrics.New()
	}
	in.Metrics = cfg.Metrics
	of.Clock, of.Log = cfg.Clock, log
	content, err := withPIs()
	OK(t, err)
	OK(t, os.WriteFile(in.Path, content, 0o600))
	in.Outbox, err = outbox.Open(t.Context(), in.Path, of)
	OK(t, err)
	t.Cleanup(func() { _ = in.Outbox.Close() })
	in.Desk, err = desk.New(in.Outbox, cfg)
	OK(t, err)
	in.Server = httptest.NewUnstartedServer(nil)
	in.Server.Config = rest.NewServer(rest.Wrap(in.Desk, log), log, Limits)
	in.Server.StartTLS() // browsers keep the cookie of the desk over TLS only
	t.Cleanup(in.Server.Close)
	t.Cleanup(in.Desk.Stop)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- in.Desk.Sessions().Run(ctx) }()
	in.EndSessions = sync.OnceFunc(func() {
		cancel()
		OK(t, <-ended)
	})
	t.Cleanup(in.EndSessions)
	return in
}

// Ends returns the reasons for which sessions of a PI have ended, as the audit trail has
// them, in order.
func (in *Installation) Ends(user string) (reasons []string) {
	in.t.Helper()
	OK(in.t, in.Outbox.Audit(in.t.Context(), outbox.AuditFilter{Action: "session.ended", Actor: user}, func(e outbox.AuditEntry) error {
		var detail struct{ Reason string }
		err := json.Unmarshal(e.Detail, &detail)
		reasons = append(reasons, detail.Reason)
		return err
	}))
	return reasons
}

// Eventually waits until a condition holds, for at most two minutes.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after two minutes: %s", what)
		}
	}
}

// InFlight calls request so that change is committed after the program has read the
// accounts for the request and before the request is committed.
func InFlight(t testing.TB, o *outbox.Outbox, change func() error, request func()) {
	t.Helper()
	begun, waits, rehearsed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	release := sync.OnceFunc(func() { close(waits) })
	defer release() // also if the test ends here
	go func() {
		rehearsed <- o.Rehearse(t.Context(), func(outbox.RegisterFunc) error { // others wait until it returns
			close(begun)
			<-waits
			return nil
		})
	}()
	<-begun
	changed, requested := make(chan error, 1), make(chan struct{})
	go func() { changed <- change() }()
	Eventually(t, "the change waits for its turn", func() bool { return o.DB().Queued() == 1 })
	go func() {
		defer close(requested)
		request()
	}()
	Eventually(t, "the request waits for its turn", func() bool { return o.DB().Queued() == 2 })
	release()
	OK(t, <-rehearsed)
	OK(t, <-changed)
	<-requested
}

// withPIs returns the content of the file of an outbox with the two PIs. To hash passwords
// takes long, so all installations of a test run begin with the same file. Its time is that
// of NewClock.
var withPIs = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "desktest")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path, ctx := filepath.Join(dir, "outbox.db"), context.Background()
	o, err := outbox.Open(ctx, path, outbox.Config{Clock: NewClock().Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		accountstest.AddPI(ctx, o.Accounts(), "ops", User, Name, []string{Study}, Password),
		accountstest.AddPI(ctx, o.Accounts(), "ops", OtherUser, "Dr. Chidi Okafor", []string{Other}, Password),
		o.Close(), // writes all to the one file
	)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// OK fails the test at once if err is not nil.
func OK(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Register registers assessments, which then wait.
func (in *Installation) Register(assessments ...events.Assessment) {
	in.t.Helper()
	batch := make([]events.Submission, len(assessments))
	for i, a := range assessments {
		batch[i].Assessment = a
	}
	results, err := in.Outbox.Register(in.t.Context(), "tumor-db", batch)
	OK(in.t, err)
	for _, r := range results {
		if r.Err != nil {
			in.t.Fatalf("assessment %s was not registered: %v", r.ID, r.Err)
		}
	}
}

// Sign signs what waits of these assessments, as User.
func (in *Installation) Sign(ids ...string) []outbox.Signed {
	in.t.Helper()
	signed, err := in.Outbox.SignOff(in.t.Context(), outbox.SignOff{User: User, Meaning: Meaning, IDs: ids})
	OK(in.t, err)
	return signed
}

// Publish gives the events of the outbox that have no stream sequence the next ones, as the
// publisher does, but for the last keep of them. It returns the last sequence.
func (in *Installation) Publish(keep int) uint64 {
	in.t.Helper()
	source := in.Outbox.Source()
	head, err := source.Head(in.t.Context())
	OK(in.t, err)
	pending, err := source.Pending(in.t.Context(), 1000)
	OK(in.t, err)
	pending = pending[:len(pending)-keep]
	last := head.StreamSequence
	for i := range pending {
		last++
		pending[i].StreamSequence = last
	}
	OK(in.t, source.Record(in.t.Context(), pending))
	return last
}

// Browser is a client of the desk that keeps cookies, as a browser without script does. It
// follows no redirect by itself.
type Browser struct {
	in     *Installation
	client *http.Client
}

// Page is an answer.
type Page struct {
	Status int
	Header http.Header
	Body   string
}

// Main returns the part of the page between the navigation and the footer, which does not
// depend on who is signed in and for how long.
func (p Page) Main() string {
	_, text, _ := strings.Cut(p.Body, "<main")
	text, _, _ = strings.Cut(text, "</main>")
	return text
}

// Location returns where a redirect leads to, without the origin.
func (p Page) Location() string { return p.Header.Get("Location") }

// Browser returns a browser that is not signed in.
func (in *Installation) Browser() *Browser {
	jar, err := cookiejar.New(nil)
	OK(in.t, err)
	roots := x509.NewCertPool()
	roots.AddCert(in.Server.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	in.t.Cleanup(transport.CloseIdleConnections)
	return &Browser{in, &http.Client{
		Jar: jar, Transport: transport, Timeout: limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// SignedIn returns a browser in which a PI has signed in.
func (in *Installation) SignedIn(user string) *Browser {
	in.t.Helper()
	b := in.Browser()
	if p := b.Post("/sign-in", url.Values{"user": {user}, "password": {Password}}); p.Status != http.StatusSeeOther {
		in.t.Fatalf("sign-in: %d\n%s", p.Status, p.Body)
	}
	return b
}

// Cookie returns the value of the cookie of the desk, or "" if the browser has none.
func (b *Browser) Cookie() string {
	u, err := url.Parse(b.in.Server.URL)
	OK(b.in.t, err)
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == "__Host-desk" {
			return c.Value
		}
	}
	return ""
}

// Request returns a request with the browser's cookies, for a handler that is called
// without a connection.
func (b *Browser) Request(method, path string) *http.Request {
	r := httptest.NewRequestWithContext(b.in.t.Context(), method, path, nil)
	server, err := url.Parse(b.in.Server.URL)
	OK(b.in.t, err)
	for _, c := range b.client.Jar.Cookies(server) {
		r.AddCookie(c)
	}
	return r
}

// Get asks for a page. Headers are pairs of a name and a value.
func (b *Browser) Get(path string, headers ...string) Page {
	b.in.t.Helper()
	return b.Do(http.MethodGet, path, nil, headers...)
}

// Post sends a form.
func (b *Browser) Post(path string, form url.Values, headers ...string) Page {
	b.in.t.Helper()
	return b.Do(http.MethodPost, path, strings.NewReader(form.Encode()), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

// Ask sends a request, with POST and the form, or with GET. Of a stream it reads the head only.
func (b *Browser) Ask(method, path string, form url.Values, stream bool) Page {
	b.in.t.Helper()
	switch {
	case stream:
		r, err := http.NewRequestWithContext(b.in.t.Context(), method, b.in.Server.URL+path, http.NoBody)
		OK(b.in.t, err)
		answer, err := b.client.Do(r)
		OK(b.in.t, err)
		_ = answer.Body.Close()
		return Page{Status: answer.StatusCode, Header: answer.Header}
	case method == http.MethodPost:
		return b.Post(path, form)
	default:
		return b.Get(path)
	}
}

// Do sends a request. The header Host replaces the name of the server.
func (b *Browser) Do(method, path string, body io.Reader, headers ...string) Page {
	b.in.t.Helper()
	r, err := http.NewRequestWithContext(b.in.t.Context(), method, b.in.Server.URL+path, body)
	OK(b.in.t, err)
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	answer, err := b.client.Do(r)
	OK(b.in.t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	OK(b.in.t, err)
	return Page{answer.StatusCode, answer.Header, string(text)}
}

// Open asks for a page and returns the answer as soon as it has begun. Its body is closed
// when the test ends.
func (b *Browser) Open(path string) *http.Response {
	b.in.t.Helper()
	r, err := http.NewRequestWithContext(b.in.t.Context(), http.MethodGet, b.in.Server.URL+path, nil)
	OK(b.in.t, err)
	answer, err := b.client.Do(r)
	OK(b.in.t, err)
	b.in.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// Case71 returns the four visits of case 71 of the CDISC pilot study (subject 01-704-1127).
// The last one is recorded as a partial response, though the targets progress. Ids are 7100
// to 7103.
func Case71(study string) []events.Assessment {
	organs := []string{"Adrenal gland", "Lymph node", "Bladder", "Body", "Bone"}
	values := [][]events.Decimal{
		{"17", "10", "17", "12", "17"}, {"12", "11", "5", "12", "14"}, {"5", "9", "5", "7", "14"}, {"5", "8", "12", "14", "11"},
	}
	sums := []events.Decimal{"73", "54", "40", "50"}
	changes := [][3]string{{"--", "0.0 mm", "--"}, {"-19.0 mm", "-19.0 mm", "-19.0 mm"}, {"-14.0 mm", "-33.0 mm", "-14.0 mm"}, {"+10.0 mm", "-23.0 mm", "+10.0 mm"}}
	conclusions := []string{"No", "Stable Disease", "Partial Response", "Partial Response"}
	var out []events.Assessment
	for n, of := range values {
		a := events.Assessment{
			ID: strconv.Itoa(7100 + n), Study: study, SponsorStudy: "CDISCPILOT01", TrialName: study, Criteria: "RECIST 1.1",
			Case: events.Case{ID: 71, Revision: 1}, Revision: 1, Name: events.Baseline, Timepoint: int32(n), Subject: "01-704-1127",
			Effective:  time.Date(2013, 10, 2, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 42*n).Format(time.DateOnly),
			Conclusion: conclusions[n],
			Measurement: &events.Measurement{
				Type: events.MeasurementType, Value: sums[n], Unit: events.Unit,
				ChangeFromPrevious: changes[n][0], ChangeFromBaseline: changes[n][1], ChangeFromNadir: changes[n][2],
			},
		}
		if n > 0 {
			a.Name = events.FollowUp(n)
		}
		for i, value := range of {
			a.Lesions = append(a.Lesions, events.Lesion{
				ID: fmt.Sprintf("T%02d", i+1), Category: "Target", Organ: organs[i], State: "Present", Value: value, Unit: events.Unit, Modality: "CT",
			})
		}
		state := "Present"
		if n == 3 {
			state = "Not evaluable"
		}
		a.Lesions = append(a.Lesions, events.Lesion{ID: "NT05", Category: "Non-target", State: state})
		out = append(out, a)
	}
	return out
}

// Agreeing returns the two visits of a case whose records agree with RECIST 1.1. Ids are
// the case number followed by 00 and 01.
func Agreeing(study string, number int32, subject string) []events.Assessment {
	var out []events.Assessment
	for n, value := range []events.Decimal{"50.0", "30.0"} {
		changes, name, conclusion := [3]string{"--", "0.0 mm", "--"}, events.Baseline, "No"
		if n > 0 {
			changes, name, conclusion = [3]string{"-20.0 mm", "-20.0 mm", "-20.0 mm"}, events.FollowUp(n), "Partial Response"
		}
		out = append(out, events.Assessment{
			ID: fmt.Sprintf("%d%02d", number, n), Study: study, SponsorStudy: "SP-1", TrialName: study, Criteria: "RECIST 1.1",
			Case: events.Case{ID: number, Revision: 1}, Revision: 1, Name: name, Timepoint: int32(n), Subject: subject,
			Effective: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 42*n).Format(time.DateOnly), Conclusion: conclusion,
			Measurement: &events.Measurement{
				Type: events.MeasurementType, Value: value, Unit: events.Unit,
				ChangeFromPrevious: changes[0], ChangeFromBaseline: changes[1], ChangeFromNadir: changes[2],
			},
			Lesions: []events.Lesion{{ID: "T01", Category: "Target", Organ: "Liver", State: "Present", Value: value, Unit: events.Unit, Modality: "CT"}},
		})
	}
	return out
}
