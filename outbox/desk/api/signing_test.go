package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/api"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/metrics"
)

// deliverCase delivers a case of three visits, of which the last contradicts RECIST 1.1.
func (in *installation) deliverCase() {
	in.t.Helper()
	in.want(in.put("edc", visit(study, 7, "701", 0, "73", "--", "0.0 mm", "--", "No")), 201, `"outcome":"taken"`, `"derived":""`)
	in.want(in.put("edc", visit(study, 7, "702", 1, "40", "-33.0 mm", "-33.0 mm", "-33.0 mm", "Partial Response")), 201)
	in.want(in.put("edc", visit(study, 7, "703", 2, "50", "+10.0 mm", "-23.0 mm", "+10.0 mm", "Partial Response")), 201, `"contradiction"`, "overall-differs")
}

// caseRead is what a PI reads of a case.
type caseRead struct {
	Stamp  string
	Visits []struct {
		ID, ETag, InForce string
		Signable          bool
		Waiting           *struct{ Digest string }
	}
}

func (in *installation) readCase() caseRead {
	in.t.Helper()
	return decode[caseRead](in.t, in.want(call{as: "dr.a", method: "GET", path: "/cases/{key}/{case}", target: "/cases/" + key(in) + "/7"}, 200))
}

// key returns the key of the study, as answers have it.
func key(in *installation) string { return in.read("dr.a", "701").StudyKey }

// signAll signs all waiting visits of a case as they were read.
func (c caseRead) signAll(in *installation, as, reason string) call {
	items := []string{}
	for _, v := range c.Visits {
		item := fmt.Sprintf(`{"id":%q,"digest":%q`, v.ID, v.Waiting.Digest)
		if reason != "" && v.ID == "703" {
			item += fmt.Sprintf(`,"reason":%q`, reason)
		}
		items = append(items, item+"}")
	}
	return call{
		as: as, method: "POST", path: "/cases/{key}/{case}/sign-off", target: "/cases/" + key(in) + "/7/sign-off",
		body: fmt.Sprintf(`{"meaning":%q,"stamp":%q,"assessments":[%s]}`, meaning, c.Stamp, strings.Join(items, ",")),
	}
}

func TestAContradictionIsSignedWithAReason(t *testing.T) {
	t.Parallel()
	counted := metrics.New()
	in := install(t, api.Config{Signing: true, Metrics: counted}, "dr.a")
	in.deliverCase()
	in.want(call{as: "dr.a", method: "GET", path: "/check", target: "/check?study=S%2F1"}, 200, `"code":"overall-differs","level":"contradiction","visits":1`)
	s := in.read("dr.a", "703")
	refused := in.want(s.sign("dr.a", ""), 400, `"required"`, "reason: ", "overall-differs")
	in.want(s.sign("dr.a", " \n "), 400)
	if after := in.read("dr.a", "703"); after.etag != s.etag || strings.Contains(string(refused.Body), "subject-7") {
		t.Errorf("a refusal has changed the assessment: %+v", after)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	withReason := s.sign("dr.a", " the node\nis a cyst ")
	withReason.header = append(withReason.header, "Traceparent", trace)
	signed := in.want(withReason, 201, `"reason":"the node is a cyst"`, "overall-differs", `"name":"Printed dr.a"`)
	if again := in.want(s.sign("dr.a", ""), 200); string(again.Body) != string(signed.Body) {
		t.Errorf("the repetition is answered\n%s\nnot\n%s", again.Body, signed.Body)
	}
	registry, exposed := prometheus.NewRegistry(), httptest.NewRecorder()
	registry.MustRegister(counted.Metrics()...)
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(exposed, httptest.NewRequest(http.MethodGet, "/", nil))
	for _, line := range []string{`{check="agrees"} 0`, `{check="contradicts"} 1`, `{check="judgement"} 0`} {
		if !strings.Contains(exposed.Body.String(), "\nsignoff_desk_signatures_total"+line+"\n") {
			t.Errorf("the metrics do not have %s:\n%s", line, exposed.Body)
		}
	}
	r := decode[struct {
		Event, Hash, Digest, Meaning string
		Number                       uint64
	}](t, signed)
	if len(r.Hash) != 64 || r.Digest != s.Digest || r.Meaning != meaning || r.Number == 0 || r.Event == "" {
		t.Errorf("%+v", r)
	}
	pending, err := in.outbox.Source().Pending(t.Context(), 10)
	ok(t, err)
	if n := len(pending); n == 0 || pending[n-1].Event.ID != r.Event || pending[n-1].Event.TraceParent != trace {
		t.Errorf("%d events; the last is not that of the sign-off with its trace context", n)
	}
	var channels []string
	ok(t, in.outbox.Audit(t.Context(), outbox.AuditFilter{Assessment: "703"}, func(e outbox.AuditEntry) error {
		var detail struct{ Channel, Code string }
		if e.Action == "assessment.signed" || e.Action == "assessment.sign-refused" {
			ok(t, json.Unmarshal(e.Detail, &detail))
			channels = append(channels, e.Address+" "+detail.Channel+detail.Code)
		}
		return nil
	}))
	if want := []string{"127.0.0.1 required", "127.0.0.1 required", "127.0.0.1 api"}; !slices.Equal(channels, want) {
		t.Errorf("audited %v, want %v", channels, want)
	}
}

func TestVisitsOfACaseAreSignedTogether(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{Signing: true}, "dr.a")
	in.deliverCase()
	c := in.readCase()
	if len(c.Visits) != 3 || c.Visits[0].InForce != "waiting" || !c.Visits[0].Signable || c.Visits[0].ETag != in.read("dr.a", "701").etag {
		t.Fatalf("%+v", c)
	}
	in.want(c.signAll(in, "dr.a", ""), 400, `"required"`, "703")
	if in.readCase().Stamp != c.Stamp {
		t.Error("a refused sign-off has signed something")
	}
	twice := c.signAll(in, "dr.a", "x")
	twice.body = strings.Replace(twice.body, `"702"`, `"701"`, 1)
	in.want(twice, 400, "twice")
	in.want(in.put("edc", visit(study, 7, "704", 3, "50", "0.0 mm", "-23.0 mm", "+10.0 mm", "Progressive Disease")), 201)
	in.want(c.signAll(in, "dr.a", "a cyst"), 412, `"conflict"`)
	now := in.readCase()
	answer := in.want(now.signAll(in, "dr.a", "a cyst"), 201)
	signed := decode[struct{ Items []struct{ ID string } }](t, answer)
	if len(signed.Items) != 4 || signed.Items[0].ID != "701" {
		t.Errorf("%+v", signed)
	}
	if again := in.want(now.signAll(in, "dr.a", "a cyst"), 200); string(again.Body) != string(answer.Body) {
		t.Errorf("the repetition is answered %s", again.Body)
	}
}

// What a PI signs, withdraws or returns is what the PI has read.
func TestWhatHasChangedIsNotSigned(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{Signing: true}, "dr.a")
	in.deliverCase()
	seen := in.read("dr.a", "702")
	changed := visit(study, 7, "701", 0, "74", "--", "0.0 mm", "--", "No") // another visit of the case
	changed.Revision = 2
	in.want(in.put("edc", changed), 200)
	in.want(seen.sign("dr.a", ""), 412)
	in.want(seen.giveBack("dr.a"), 412)
	in.want(in.put("edc", visit(study, 7, "702", 1, "41", "-33.0 mm", "-33.0 mm", "-33.0 mm", "Partial Response"), "If-Match", seen.etag), 412)
	mixed, now := seen.sign("dr.a", ""), in.read("dr.a", "702")
	mixed.header = []string{"If-Match", now.etag} // the tag of now, but the stamp of before
	in.want(mixed, 412)
	byTag := now.sign("dr.a", "a reason in case of findings")
	in.want(byTag, 201)
	signed := in.read("dr.a", "702")
	in.want(now.withdraw("dr.a"), 412)
	first := in.want(signed.withdraw("dr.a"), 201, `"reason":"wrong subject"`)
	if again := in.want(signed.withdraw("dr.a"), 200); string(again.Body) != string(first.Body) {
		t.Errorf("the repetition is answered %s", again.Body)
	}
	in.want(byTag, 200, `"withdrawn":true`)
}

// Two PIs sign the same version at the same time: one of them signs it.
func TestTwoPIsAtOnce(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{Signing: true}, "dr.a", "dr.b")
	for range 5 {
		s := in.known(own)
		var group sync.WaitGroup
		statuses := make([]int, 2)
		for i, as := range []string{"dr.a", "dr.b"} {
			group.Go(func() { statuses[i] = in.send(s.sign(as, "")).Status })
		}
		group.Wait()
		slices.Sort(statuses)
		if !slices.Equal(statuses, []int{201, 409}) && !slices.Equal(statuses, []int{201, 412}) {
			t.Errorf("answered %v", statuses)
		}
		signed := 0
		ok(t, in.outbox.Audit(t.Context(), outbox.AuditFilter{Assessment: s.ID, Action: "assessment.signed"}, func(outbox.AuditEntry) error {
			signed++
			return nil
		}))
		if signed != 1 {
			t.Errorf("signed %d times", signed)
		}
	}
}

func TestSigningIsOffByDefault(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{}, "dr.a")
	s := in.known(own)
	for _, c := range []call{s.sign("dr.a", ""), s.signCase("dr.a"), s.withdraw("dr.a")} {
		in.want(c, 403, "--desk-api-signing")
	}
	in.want(s.giveBack("dr.a"), 201, `"reason":"a lesion is missing"`)
	returned := in.want(call{as: "edc", method: "GET", path: "/assessments", target: "/assessments?status=returned"}, 200, s.ID)
	next := decode[struct{ Next int64 }](t, returned).Next
	in.want(call{as: "edc", method: "GET", path: "/assessments", target: fmt.Sprint("/assessments?after=", next)}, 200, fmt.Sprintf(`{"items":[],"next":%d}`, next))
	in.want(call{as: "edc", method: "GET", path: "/assessments/{id}", target: "/assessments/" + s.ID}, 200, "a lesion is missing")
}

func TestNothingIsSignedWithAPasswordThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{Signing: true}, "dr.a")
	in.deliverCase()
	sign := in.readCase().signAll(in, "dr.a", "post-radiation")
	desktest.InFlight(t, in.outbox, func() error {
		_, err := in.outbox.Accounts().ResetPassword(t.Context(), "ops", "dr.a")
		return err
	}, func() { in.want(sign, 401, "was changed just now") })
}
