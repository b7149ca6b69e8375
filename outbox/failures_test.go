package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// signInLine is a line of the audit trail about sign-ins.
type signInLine struct {
	Actor, Action, Subject string
	Detail                 signInDetail
}

type signInDetail struct {
	Kind, Protocol, Name, Address, Reason, Since string
	Count                                        int
}

// signInLines returns the lines about failed sign-ins.
func signInLines(t *testing.T, o *outbox.Outbox) (lines []signInLine) {
	t.Helper()
	ok(t, o.Audit(t.Context(), outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
		switch e.Action {
		case "sign-in.failed", "sign-in.failures", "sign-in.locked":
			l := signInLine{Actor: e.Actor, Action: e.Action, Subject: e.Subject}
			lines = append(lines, l)
			return json.Unmarshal(e.Detail, &lines[len(lines)-1].Detail)
		}
		return nil
	}))
	return lines
}

// awaitSignInLines waits until there are as many lines about failed sign-ins.
func awaitSignInLines(t *testing.T, o *outbox.Outbox, n int) []signInLine {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		lines := signInLines(t, o)
		if len(lines) >= n {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lines: %+v", len(lines), lines)
		}
	}
}

// run runs the outbox's work in the background until the test ends, or stop is called.
func run(t *testing.T, o *outbox.Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			ok(t, <-ended)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestFailedSignInsAreAudited(t *testing.T) {
	const here = "192.0.2.1"
	since := events.FormatTime(newClock().now())
	client := func(d *testOutbox, id, address string) {
		t.Helper()
		if _, err := d.Accounts().AuthenticateClient(d.t.Context(), id, "wrong", address); err == nil {
			t.Fatal("a wrong secret opens")
		}
	}
	t.Run("of a client: the first at once, and the number when the quarter of an hour is over", func(t *testing.T) {
		d := newOutbox(t)
		secret := must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", nil))(t)
		run(t, d.Outbox)
		client(d, "acme", here)
		first := signInLine{"", "sign-in.failed", "acme", signInDetail{Kind: "client", Protocol: "http", Name: "acme", Address: here, Reason: "wrong secret"}}
		if diff := cmp.Diff([]signInLine{first}, signInLines(t, d.Outbox)); diff != "" {
			t.Error(diff)
		}
		for range 40 {
			client(d, "acme", here)
		}
		must(d.Accounts().AuthenticateClient(t.Context(), "acme", secret, here))(t)
		d.clock.advance(15 * time.Minute)
		want := []signInLine{first, {"", "sign-in.failures", "acme", signInDetail{Kind: "client", Protocol: "http", Name: "acme", Address: here, Since: since, Count: 41}}}
		if diff := cmp.Diff(want, awaitSignInLines(t, d.Outbox, 2)); diff != "" {
			t.Error(diff)
		}
		client(d, "acme", here)
		if diff := cmp.Diff(append(want, first), signInLines(t, d.Outbox)); diff != "" {
			t.Errorf("in the next quarter of an hour: %s", diff)
		}
	})
	t.Run("at once also when the clock has been set back", func(t *testing.T) {
		d := newOutbox(t)
		must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", nil))(t)
		run(t, d.Outbox)
		client(d, "acme", here)
		d.clock.advance(-24 * time.Hour)
		client(d, "acme", here)
		first := signInLine{"", "sign-in.failed", "acme", signInDetail{Kind: "client", Protocol: "http", Name: "acme", Address: here, Reason: "wrong secret"}}
		if diff := cmp.Diff([]signInLine{first, first}, signInLines(t, d.Outbox)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("before the answer, also of many clients at once", func(t *testing.T) {
		d := newOutbox(t)
		must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", nil))(t)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				address := fmt.Sprint("192.0.2.", i)
				if _, err := d.Accounts().AuthenticateClient(t.Context(), "acme", "wrong", address); err == nil {
					t.Error("a wrong secret opens")
				}
				lines := 0
				err := d.Audit(t.Context(), outbox.AuditFilter{Action: "sign-in.failed"}, func(e outbox.AuditEntry) error {
					if e.Address == address {
						lines++
					}
					return nil
				})
				if err != nil || lines != 1 {
					t.Errorf("%d lines of the failure from %s, %v", lines, address, err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("over NATS as over HTTP", func(t *testing.T) {
		d := newOutbox(t)
		must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", nil))(t)
		stop := run(t, d.Outbox)
		d.Accounts().FailedLogin("acme", true, false, here+":4222")
		first := signInLine{"", "sign-in.failed", "acme", signInDetail{Kind: "client", Protocol: "nats", Name: "acme", Address: here, Reason: "wrong secret"}}
		if diff := cmp.Diff([]signInLine{first}, awaitSignInLines(t, d.Outbox, 1)); diff != "" {
			t.Error(diff)
		}
		for range 4 {
			d.Accounts().FailedLogin("acme", true, true, here)
		}
		stop() // the counts are written before the end
		d.clock.advance(15 * time.Minute)
		d = openAgain(t, d) // and the line by whoever opens the outbox next
		want := []signInLine{first, {"", "sign-in.failures", "acme", signInDetail{Kind: "client", Protocol: "nats", Name: "acme", Address: here, Since: since, Count: 5}}}
		if diff := cmp.Diff(want, signInLines(t, d.Outbox)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("of names that nobody has, together", func(t *testing.T) {
		d := newOutbox(t)
		for i := range 30 {
			client(d, fmt.Sprint("made-up-", i), here)
			if _, err := d.Accounts().Authenticate(t.Context(), fmt.Sprint("dr.x", i%3), "not the password", here); err == nil {
				t.Fatal("a made-up user signs in")
			}
		}
		want := []signInLine{
			{"", "sign-in.failed", "", signInDetail{Kind: "client", Protocol: "http", Name: "made-up-0", Address: here, Reason: "unknown client"}},
			{"", "sign-in.failed", "", signInDetail{Kind: "user", Name: "dr.x0", Address: here, Reason: "unknown user"}},
		}
		for i := range 3 { // each is locked as somebody's name would be
			want = append(want, signInLine{"", "sign-in.locked", "", signInDetail{Kind: "user", Name: fmt.Sprint("dr.x", i), Address: here, Reason: "unknown user"}})
		}
		if diff := cmp.Diff(want, signInLines(t, d.Outbox)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("from any number of addresses, in a bounded number of lines", func(t *testing.T) {
		d := newOutbox(t)
		stop := run(t, d.Outbox)
		for i := range 3000 {
			d.Accounts().FailedLogin("guess", false, false, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
		}
		stop()
		rest := 0
		lines := signInLines(t, d.Outbox)
		for _, l := range lines {
			if l.Detail.Address == "" {
				rest++
			}
		}
		if len(lines) != 1001 || rest != 1 {
			t.Errorf("%d lines, %d of them for the rest", len(lines), rest)
		}
	})
	t.Run("of a user, with the lock", func(t *testing.T) {
		d := newOutbox(t)
		for range 7 {
			if _, err := d.Accounts().Authenticate(t.Context(), "dr.a", "not the password", here); err == nil {
				t.Fatal("a wrong password signs in")
			}
		}
		d.clock.advance(15 * time.Minute)
		must(d.Accounts().Authenticate(t.Context(), "dr.a", password, here))(t)
		d = openAgain(t, d)
		detail := signInDetail{Kind: "user", Name: "dr.a", Address: here, Reason: "wrong password"}
		want := []signInLine{
			{"", "sign-in.failed", "dr.a", detail}, {"", "sign-in.locked", "dr.a", detail},
			{"", "sign-in.failures", "dr.a", signInDetail{Kind: "user", Name: "dr.a", Address: here, Since: since, Count: 5}},
		}
		if diff := cmp.Diff(want, signInLines(t, d.Outbox)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestARefusedSignatureIsAudited(t *testing.T) {
	d := newOutbox(t, "dr.a", "dr.b")
	d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1), assessment("3", 2, 1, 1))
	ok(t, d.Accounts().RevokePI(t.Context(), operator, "dr.b", study))
	type line struct {
		Actor, Action, Study, Subject string
		Detail                        struct {
			Code, Message, Meaning, Reason string
			Assessments                    []string
		}
	}
	var message string // of the last line
	last := func() (l line) {
		t.Helper()
		ok(t, d.Audit(t.Context(), outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
			l = line{Actor: e.Actor, Action: e.Action, Study: e.Study, Subject: e.Subject}
			return json.Unmarshal(e.Detail, &l.Detail)
		}))
		message, l.Detail.Message = l.Detail.Message, ""
		return l
	}
	refused := func(err error, code events.Code, want line) {
		t.Helper()
		wantCode(t, err, code)
		want.Detail.Code = string(code)
		if diff := cmp.Diff(want, last()); diff != "" {
			t.Error(diff)
		}
	}
	signing := func(user, study, subject string, ids ...string) (l line) {
		l = line{Actor: user, Action: "assessment.sign-refused", Study: study, Subject: subject}
		l.Detail.Meaning, l.Detail.Assessments = meaning, ids
		return l
	}
	withdrawal := func(user, study, subject, reason string) (l line) {
		l = line{Actor: user, Action: "report.withdraw-refused", Study: study, Subject: subject}
		l.Detail.Meaning, l.Detail.Reason = withdrawing, reason
		return l
	}
	_, err := d.signAs("dr.b", "1")
	refused(err, events.Forbidden, signing("dr.b", study, "1"))
	_, err = d.signAs("dr.b", "2", "3")
	refused(err, events.Forbidden, signing("dr.b", study, "", "2", "3"))
	_, err = d.signAs("dr.a", "none")
	refused(err, events.NotFound, signing("dr.a", "", "none"))
	_, err = d.withdrawAs("dr.a", "1", "mistaken")
	refused(err, events.Conflict, withdrawal("dr.a", study, "1", "mistaken"))
	_, err = d.withdrawAs("dr.a", "1", "")
	refused(err, events.Invalid, withdrawal("dr.a", study, "1", ""))
	if want := "reason: is missing"; message != want { // without its field it would say nothing
		t.Errorf("the message is %q, want %q", message, want)
	}

	tx := must(d.DB().Writer.BeginTxx(t.Context(), nil))(t)
	sign := outbox.SignOff{User: "dr.b", Meaning: meaning, IDs: []string{"1"}}
	_, err = d.SignOffTx(t.Context(), tx, sign)
	ok(t, tx.Rollback())
	refused(d.RecordRefusal(t.Context(), sign, err), events.Forbidden, signing("dr.b", study, "1"))
	if n := len(all(t, d.Outbox)); n != 0 {
		t.Errorf("%d events", n)
	}
}

// The table failures has names that nobody has, one of which may be a password that was
// typed in the wrong field.
func TestFailuresInARowAreBounded(t *testing.T) {
	t.Parallel()
	const here = "192.0.2.1"
	fail := func(d *testOutbox, user string) error {
		t.Helper()
		_, err := d.Accounts().Authenticate(t.Context(), user, "wrong", here)
		if err == nil {
			t.Fatal("a wrong password opens")
		}
		return err
	}
	t.Run("by time, without another failure", func(t *testing.T) {
		d := newOutbox(t)
		db := raw(t, d.path).Reader
		fail(d, "tr0ub4dor")
		d.clock.advance(15 * time.Minute)
		run(t, d.Outbox)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			var n int
			ok(t, db.Get(&n, "select count(*) from failures"))
			if n == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d rows after a quarter of an hour", n)
			}
		}
	})
	t.Run("by number, and a lock outlasts the names that failed less often", func(t *testing.T) {
		d := newOutbox(t)
		for range 5 {
			fail(d, "dr.a")
		}
		d.clock.advance(time.Second)
		db := raw(t, d.path).Writer
		must(db.Exec(`
			with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 20000)
			insert into failures (kind, name, address, count, time)
			select 'user', 'name' || n, ?, 1, ? from numbers`, here, events.FormatTime(d.clock.now())))(t)
		for _, user := range []string{"dr.x", "dr.y"} {
			fail(d, user)
			var n int
			ok(t, db.Get(&n, "select count(*) from failures"))
			if n > 20_000 {
				t.Errorf("%d rows", n)
			}
		}
		wantCode(t, fail(d, "dr.a"), events.Throttled)
	})
}
