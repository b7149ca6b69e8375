package desk_test

import (
	"bytes"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// syncBuffer is a buffer that may be written to concurrently.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// The log has what was asked for and refused, but no subject, no password, nothing that a PI
// typed, and no cookie.
func TestTheLogNamesNoSubjectAndNoPassword(t *testing.T) {
	t.Parallel()
	const subject, mistyped, reason = "SUBJECT-4711", "mistyped pass phrase", "A reason that was typed."
	var log syncBuffer
	in := desktest.Install(t, desk.Config{Log: slog.New(rest.LogHandler(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))})
	in.Register(desktest.Agreeing(desktest.Study, 5, subject)...)
	path := pathOfCase("5")

	want(t, in.Browser().Post("/sign-in", url.Values{"user": {desktest.User}, "password": {mistyped}}), 401)
	want(t, in.Browser().Post("/sign-in", url.Values{"user": {mistyped}, "password": {desktest.User}}), 401)
	b := in.SignedIn(desktest.User)
	want(t, b.Post("/find", url.Values{"subject": {subject}}), 303)
	want(t, b.Post("/find", url.Values{"subject": {"NO-" + subject}}), 200)
	want(t, b.Post("/password", url.Values{"present": {mistyped}, "password": {"a quite long one"}, "again": {"a quite long one"}}), 401)
	f := with(form(t, b.Get(path), path+"/sign-off"), "meaning", "own", "own", reason, "user", desktest.User)
	want(t, b.Post(path+"/sign-off", f), 400)
	want(t, b.Post(path+"/sign-off", with(f, "password", mistyped)), 403)
	want(t, b.Post(path+"/sign-off", with(f, "stamp", strings.Repeat("0", 64), "password", desktest.Password)), 412)
	p := want(t, b.Post(path+"/sign-off", with(f, "password", desktest.Password)), 303)
	want(t, b.Get(p.Location()), 200, subject)
	g := with(form(t, b.Get("/assessments/500"), "/assessments/500/withdrawal"), "meaning", "own", "own", reason, "reason", reason)
	want(t, b.Post("/assessments/500/withdrawal", with(g, "password", mistyped)), 403)
	want(t, b.Post("/assessments/500/withdrawal", with(g, "password", desktest.Password)), 303)
	r := form(t, b.Get(path), path+"/return")
	want(t, b.Post(path+"/return", with(r, "return-reason", reason)), 303)
	for _, page := range []string{"/waiting", "/signed", "/studies", "/studies/" + key, "/history", "/cases/" + key + "/99"} {
		b.Get(page)
	}
	cookie := b.Cookie()
	in.Desk.Fail("/test/500", nil)
	want(t, b.Get("/test/500"), 500)

	text := log.String()
	for _, part := range []string{`"/find"`, path + "/sign-off", "/assessments/500/withdrawal", "panic"} {
		if !strings.Contains(text, part) {
			t.Errorf("the log lacks %q:\n%s", part, text)
		}
	}
	for _, secret := range []string{subject, mistyped, desktest.Password, "a quite long one", reason, cookie} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q:\n%s", secret, text)
		}
	}
}
