package outbox_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
)

// note has the broker say so now.
func (d *testOutbox) note(study string, delivered, acknowledged uint64) {
	d.t.Helper()
	d.noteAt(study, delivered, acknowledged, d.clock.now())
}

func (d *testOutbox) noteAt(study string, delivered, acknowledged uint64, at time.Time) {
	d.t.Helper()
	ok(d.t, d.Receipts().NoteReceipts(d.t.Context(), []events.Receipt{
		{Partner: "acme", Study: study, Delivered: delivered, Acknowledged: acknowledged, At: at},
	}))
}

// receipt returns the one of a study.
func (d *testOutbox) receipt(study string) (found events.Receipt) {
	d.t.Helper()
	for _, r := range must(d.Receipts().Receipts(d.t.Context()))(d.t) {
		if r.Partner == "acme" && r.Study == study {
			found = r
		}
	}
	return found
}

// lag returns that of acme in a study.
func (d *testOutbox) lag(study string) receipts.Lag {
	d.t.Helper()
	for _, l := range must(d.Receipts().Lags(d.t.Context()))(d.t) {
		if l.Partner == "acme" && l.Study == study {
			return l
		}
	}
	d.t.Fatalf("no lag in %s", study)
	return receipts.Lag{}
}

func TestReceipts(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	must(d.Accounts().AddPartner(ctx, operator, "acme", "", []string{"A", "München"}))(t)
	own, umlaut := events.PartnerStudy("acme"), events.StudyKey("München")

	t.Run("begin with a grant", func(t *testing.T) {
		want := []events.Receipt{{Partner: "acme", Study: "A"}, {Partner: "acme", Study: own}, {Partner: "acme", Study: umlaut}}
		if diff := cmp.Diff(want, must(d.Receipts().Receipts(ctx))(t)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("move forward, each of the two by itself", func(t *testing.T) {
		d.note("A", 7, 3)
		d.note(own, 1, 1)
		d.note(umlaut, 2, 0)
		first := d.clock.now()
		d.clock.advance(time.Second)
		d.note("A", 7, 5)
		want := events.Receipt{Partner: "acme", Study: "A", Delivered: 7, Acknowledged: 5, At: first.Add(time.Second)}
		if diff := cmp.Diff(want, d.receipt("A")); diff != "" {
			t.Error(diff)
		}
		if r := d.receipt(own); r.Acknowledged != 1 || !r.At.Equal(first) {
			t.Errorf("%+v", r)
		}
	})
	t.Run("never go back, not where the broker lost its store either", func(t *testing.T) {
		d.note("A", 0, 0)
		d.note("A", 6, 6)
		if r := d.receipt("A"); r.Delivered != 7 || r.Acknowledged != 6 {
			t.Errorf("%+v", r)
		}
		if _, err := raw(t, d.path).Writer.Exec(`update receipts set acknowledged = acknowledged - 1 where study = 'A'`); err == nil {
			t.Error("the database lets them")
		}
	})
	t.Run("count what is acknowledged as delivered", func(t *testing.T) {
		d.note("A", 6, 8)
		if r := d.receipt("A"); r.Delivered != 8 || r.Acknowledged != 8 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("are not written again when nothing moved", func(t *testing.T) {
		before := must(d.DB().Version(ctx))(t)
		d.clock.advance(time.Hour)
		d.note("A", 8, 8)
		d.note("A", 1, 1)
		if after := must(d.DB().Version(ctx))(t); after != before {
			t.Error("the database changed")
		}
	})
	t.Run("of what is not granted are passed over", func(t *testing.T) {
		d.note("B", 5, 5)
		d.note("_partner/globex", 5, 5)
		d.note("_access", 5, 5)
		if n := len(must(d.Receipts().Receipts(ctx))(t)); n != 3 {
			t.Errorf("%d receipts", n)
		}
		err := d.Receipts().NoteReceipts(ctx, []events.Receipt{{Partner: "acme", Study: "A", Delivered: 99}, {Partner: "nobody", Study: "A", Delivered: 5}})
		wantCode(t, err, events.NotFound)
		if r := d.receipt("A"); r.Delivered != 8 {
			t.Error("half of it was stored")
		}
	})
	t.Run("survive the process", func(t *testing.T) {
		again := open(t, d.path, outbox.Config{})
		if diff := cmp.Diff(must(d.Receipts().Receipts(ctx))(t), must(again.Receipts().Receipts(ctx))(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAReceiptEndsWithTheGrant(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	d.signedIn("A", "1")
	d.signedIn("A", "2")
	must(d.Accounts().AddPartner(ctx, operator, "acme", "", []string{"A"}))(t)
	d.record(10)
	d.note("A", 2, 1)
	before := d.clock.now()
	d.clock.advance(time.Minute)
	ok(t, d.Accounts().RevokePartner(ctx, operator, "acme", "A"))

	t.Run("and the audit trail keeps what was received", func(t *testing.T) {
		if got, want := d.lastDetail("partner.revoked"), `{"received":[{"study":"A","delivered":2,"acknowledged":1}]}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("so that late news of it do not come back", func(t *testing.T) {
		d.note("A", 2, 2)
		if r := d.receipt("A"); r != (events.Receipt{}) {
			t.Errorf("%+v", r)
		}
	})
	t.Run("and a new grant begins with the first event", func(t *testing.T) {
		ok(t, d.Accounts().GrantPartner(ctx, operator, "acme", "A"))
		d.noteAt("A", 2, 2, before)
		if diff := cmp.Diff(events.Receipt{Partner: "acme", Study: "A"}, d.receipt("A")); diff != "" {
			t.Error(diff)
		}
		d.note("A", 1, 1)
		if r := d.receipt("A"); r.Acknowledged != 1 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("or with the partner", func(t *testing.T) {
		ok(t, d.Accounts().RemovePartner(ctx, operator, "acme"))
		d.note("A", 2, 2)
		d.note(events.PartnerStudy("acme"), 2, 2)
		if r := must(d.Receipts().Receipts(ctx))(t); len(r) != 0 {
			t.Errorf("%+v", r)
		}
		want := `{"received":[{"study":"A","delivered":1,"acknowledged":1},{"study":"_partner/acme","delivered":0,"acknowledged":0}]}`
		if got := d.lastDetail("partner.removed"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// lastDetail returns the detail of the last line of the audit trail with the
// action.
func (d *testOutbox) lastDetail(action string) (detail string) {
	d.t.Helper()
	ok(d.t, d.Audit(d.t.Context(), outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
		if e.Action == action {
			detail = string(e.Detail)
		}
		return nil
	}))
	return detail
}

func TestLag(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	start := d.clock.now()
	must(d.Accounts().AddPartner(ctx, operator, "acme", "", []string{"A", "empty"}))(t) // stream sequences 1, 2, 3
	d.signedIn("A", "1")                                                                // 4
	d.signedIn("B", "2")                                                                // 5
	d.clock.advance(time.Minute)
	d.signedIn("A", "3") // 6
	d.signedIn("B", "4") // 7
	d.signedIn("A", "5") // none yet
	d.record(7)
	now := d.clock.now()

	for _, c := range []struct {
		what                    string
		delivered, acknowledged uint64 // stream sequences
		want                    receipts.Lag
	}{
		{"nothing received", 0, 0, receipts.Lag{Behind: 3, Since: start}},
		{"something delivered", 4, 0, receipts.Lag{Delivered: 1, Behind: 3, Since: start}},
		{"all delivered that is published", 6, 4, receipts.Lag{Delivered: 2, Acknowledged: 1, Behind: 2, Since: now}},
		{"numbers of other studies' events", 7, 5, receipts.Lag{Delivered: 2, Acknowledged: 1, Behind: 2, Since: now}},
		{"beyond what the outbox knows to be published", 99, 99, receipts.Lag{Delivered: 2, Acknowledged: 2, Behind: 1, Since: now.Add(time.Microsecond)}},
	} {
		t.Run(c.what, func(t *testing.T) {
			d.note("A", c.delivered, c.acknowledged)
			c.want.Partner, c.want.Study, c.want.StudyKey, c.want.Last = "acme", "A", "A", 3
			got := d.lag("A")
			got.Noted = time.Time{}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("of what the partner is told", func(t *testing.T) {
		d.note(events.PartnerStudy("acme"), 3, 2)
		if l := d.lag(events.PartnerStudy("acme")); l.Last != 2 || l.Delivered != 2 || l.Acknowledged != 1 || l.Behind != 1 {
			t.Errorf("%+v", l)
		}
	})
	t.Run("of a study without events", func(t *testing.T) {
		d.note("empty", 7, 7)
		if l := d.lag("empty"); l.Last+l.Delivered+l.Acknowledged+l.Behind != 0 || !l.Since.IsZero() || l.Noted.IsZero() {
			t.Errorf("%+v", l)
		}
	})
	t.Run("counts from the grant, not from a past that the partner could not see", func(t *testing.T) {
		d.clock.advance(time.Hour)
		ok(t, d.Accounts().GrantPartner(ctx, operator, "acme", "B"))
		if l := d.lag("B"); l.Behind != 2 || !l.Since.Equal(d.clock.now()) {
			t.Errorf("%+v", l)
		}
	})
	t.Run("is none of a partner that was removed", func(t *testing.T) {
		ok(t, d.Accounts().RemovePartner(ctx, operator, "acme"))
		if lags := must(d.Receipts().Lags(ctx))(t); len(lags) != 0 {
			t.Errorf("%+v", lags)
		}
	})
}

// lookedAt is a context that calls then when somebody looks for the n-th time whether it has
// ended, as each statement does.
type lookedAt struct {
	context.Context
	n    atomic.Int64
	then func()
}

func (c *lookedAt) Done() <-chan struct{} {
	if c.n.Add(-1) == 0 {
		c.then()
	}
	return c.Context.Done()
}

// A receipt ends with its grant. Whoever reads meanwhile sees both or neither: a grant without
// its receipt would be that of a partner that has received nothing.
func TestAGrantIsNotSeenWithoutItsReceipt(t *testing.T) {
	d := newOutbox(t)
	d.signedIn("A", "1")
	d.record(1)
	must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", nil))(t)
	for name, read := range map[string]func(context.Context) (nothing bool){
		"lags": func(ctx context.Context) bool {
			return slices.ContainsFunc(must(d.Receipts().Lags(ctx))(t), func(l receipts.Lag) bool { return l.Study == "A" && l.Delivered == 0 })
		},
		"reception": func(ctx context.Context) bool {
			return slices.ContainsFunc(must(d.Receipts().Reception(ctx, "1"))(t).Receivers, func(r receipts.Receiver) bool { return r.State == receipts.NotDelivered })
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n := range int64(40) { // more often than anything looks
				ok(t, d.Accounts().GrantPartner(t.Context(), operator, "acme", "A"))
				d.note("A", 1, 1)
				revoke := sync.OnceFunc(func() {
					if err := d.Accounts().RevokePartner(t.Context(), operator, "acme", "A"); err != nil {
						t.Error(err)
					}
				})
				ctx := &lookedAt{Context: t.Context(), then: revoke}
				ctx.n.Store(n + 1)
				if read(ctx) {
					t.Errorf("revoked at look %d, the partner seems to have received nothing", n+1)
				}
				revoke()
			}
		})
	}
}

func TestLagMetrics(t *testing.T) {
	d := newOutbox(t)
	must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", []string{"A"}))(t)
	d.signedIn("A", "1")
	d.record(10)
	d.note(events.PartnerStudy("acme"), 2, 2)
	d.clock.advance(time.Minute)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(d.Metrics()...)
	gather := func() map[string]float64 {
		got := make(map[string]float64)
		for _, family := range must(registry.Gather())(t) {
			for _, m := range family.GetMetric() {
				if l := m.GetLabel(); len(l) == 2 && l[0].GetName() == "partner" {
					got[family.GetName()+" "+l[0].GetValue()+" "+l[1].GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
		return got
	}
	want := map[string]float64{
		"signoff_partner_lag_events acme A": 1, "signoff_partner_lag_age_seconds acme A": 60,
		"signoff_partner_lag_events acme _partner/acme": 0, "signoff_partner_lag_age_seconds acme _partner/acme": 0,
	}
	if diff := cmp.Diff(want, gather()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	ok(t, d.Accounts().RemovePartner(t.Context(), operator, "acme"))
	if got := gather(); len(got) != 0 {
		t.Errorf("series without a grant: %v", got)
	}
}

func TestReception(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	d.signedIn("A", "1")
	d.signedIn("A", "2")
	for _, id := range []string{"acme", "globex", "initech"} {
		must(d.Accounts().AddPartner(ctx, operator, id, "", []string{"A"}))(t)
	}
	must(d.Accounts().AddPartner(ctx, operator, "stranger", "", []string{"B"}))(t)
	states := func(t *testing.T, id string) string {
		t.Helper()
		r := must(d.Receipts().Reception(ctx, id))(t)
		return string(must(json.Marshal(r.Receivers))(t))
	}
	t.Run("of nobody before it is published", func(t *testing.T) {
		want := `[{"partner":"acme","state":"not delivered"},{"partner":"globex","state":"not delivered"},{"partner":"initech","state":"not delivered"}]`
		if got := states(t, "2"); got != want {
			t.Error(got)
		}
	})
	d.record(2)
	ok(t, d.Receipts().NoteReceipts(ctx, []events.Receipt{
		{Partner: "acme", Study: "A", Delivered: 2, Acknowledged: 2}, {Partner: "globex", Study: "A", Delivered: 2, Acknowledged: 1},
	}))
	t.Run("as far as the broker knows", func(t *testing.T) {
		want := `[{"partner":"acme","state":"acknowledged"},{"partner":"globex","state":"delivered"},{"partner":"initech","state":"not delivered"}]`
		if got := states(t, "2"); got != want {
			t.Error(got)
		}
		want = `[{"partner":"acme","state":"acknowledged"},{"partner":"globex","state":"acknowledged"},{"partner":"initech","state":"not delivered"}]`
		if got := states(t, "1"); got != want {
			t.Error(got)
		}
	})
	t.Run("is that of the last version", func(t *testing.T) {
		must(d.withdrawAs("dr.a", "1", "wrong subject"))(t)
		r := must(d.Receipts().Reception(ctx, "1"))(t)
		if r.Kind != string(events.ReportWithdrawn) || r.Number != 3 || r.StreamSequence != 0 || r.Receivers[0].State != receipts.NotDelivered {
			t.Errorf("%+v", r)
		}
	})
	t.Run("of what was never signed is not found", func(t *testing.T) {
		d.register(assessment("9", 9, 1, 1))
		for _, id := range []string{"9", "none", ""} {
			_, err := d.Receipts().Reception(ctx, id)
			wantCode(t, err, events.NotFound)
		}
	})
}
