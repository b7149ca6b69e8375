package desk_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/metrics"
)

// follow opens the stream of a case.
func follow(t *testing.T, b *desktest.Browser, number string) *bufio.Reader {
	t.Helper()
	answer := b.Open("/live?case=" + events.StudyKey(desktest.Study) + "/" + number)
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" || answer.Header.Get("Content-Encoding") != "" || answer.Header.Get("No-Gzip-Compression") != "" {
		t.Fatalf("answered %d %v", answer.StatusCode, answer.Header)
	}
	r := bufio.NewReader(answer.Body)
	if text := next(t, r); text != "retry: 3000" {
		t.Fatalf("begins with %q", text)
	}
	return r
}

// next returns the next event of a stream, without heartbeats. It is "" at the end.
func next(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var lines []string
	for {
		line, err := r.ReadString('\n')
		line = strings.TrimSuffix(line, "\n")
		switch {
		case err != nil:
			return ""
		case line == "" && len(lines) > 0:
			return strings.Join(lines, "\n")
		case line != "" && !strings.HasPrefix(line, ":"):
			lines = append(lines, line)
		}
	}
}

// event fails the test unless the next event has the name and the ids, name after name.
func event(t *testing.T, r *bufio.Reader, name string, ids ...string) {
	t.Helper()
	text := next(t, r)
	first, data, _ := strings.Cut(text, "\ndata: ")
	var got map[string]string
	if first != "event: "+name || json.Unmarshal([]byte(data), &got) != nil || len(got) != 1+len(ids)/2 || got["case"] == "" {
		t.Fatalf("got %q, want %s %v", text, name, ids)
	}
	for i := 0; i < len(ids); i += 2 {
		if got[ids[i]] != ids[i+1] {
			t.Fatalf("got %q, want %s %v", text, name, ids)
		}
	}
}

func TestAStreamFollowsACase(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Outbox.Run(ctx) }() // notices what the publisher stores
	defer func() { cancel(); desktest.OK(t, <-ended) }()
	_, err := in.Outbox.Accounts().AddPartner(t.Context(), "ops", "acme", "ACME", []string{desktest.Study})
	desktest.OK(t, err)
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	b := in.SignedIn(desktest.User)
	stream := follow(t, b, "5")

	in.Register(desktest.Agreeing(desktest.Study, 6, "01-704-1009")...) // of another case
	signed := in.Sign("500")[0].Event
	event(t, stream, "waiting")
	last := in.Publish(0)
	event(t, stream, "published", "assessment", "500", "event", signed)
	receipt := events.Receipt{Partner: "acme", Study: events.StudyKey(desktest.Study), Delivered: last}
	desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), []events.Receipt{receipt}))
	event(t, stream, "delivered", "assessment", "500", "event", signed, "partner", "acme")
	receipt.Acknowledged = last
	desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), []events.Receipt{receipt}))
	event(t, stream, "acknowledged", "assessment", "500", "event", signed, "partner", "acme")

	t.Run("ends with the grant, before it says more", func(t *testing.T) {
		desktest.OK(t, in.Outbox.Accounts().RevokePI(t.Context(), "ops", desktest.User, desktest.Study))
		in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")[1])
		changed := desktest.Agreeing(desktest.Study, 5, "01-704-1008")[1]
		changed.Revision = 2
		in.Register(changed)
		if text := next(t, stream); text != "" {
			t.Errorf("got %q", text)
		}
	})
}

// What a list shows of a case changes also when a version that waits is replaced by another
// one, and as many wait as before.
func TestAStreamFollowsWhatWaits(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 6, "01-704-1009")...) // waits longest
	visit := desktest.Agreeing(desktest.Study, 5, "01-704-1008")[0]
	in.Register(visit)
	answer := in.SignedIn(desktest.User).Open("/live")
	stream := bufio.NewReader(answer.Body)
	if text := next(t, stream); text != "retry: 3000" {
		t.Fatalf("begins with %q", text)
	}
	visit.Revision = 2
	in.Register(visit)
	if text := next(t, stream); !strings.HasPrefix(text, "event: waiting\n") {
		t.Errorf("got %q", text)
	}
}

func TestAStreamEndsWithItsSessionAndTheServer(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	path := "/live?case=" + events.StudyKey(desktest.Study) + "/5"
	b, other := in.SignedIn(desktest.User), in.SignedIn(desktest.User)
	stream, more := follow(t, b, "5"), follow(t, other, "5")
	if p := b.Post("/sign-out", url.Values{}); p.Status != http.StatusSeeOther {
		t.Fatalf("sign-out: %d", p.Status)
	}
	if text := next(t, stream); text != "" {
		t.Errorf("after the sign-out: %q", text)
	}
	want(t, b.Get(path), 401)

	for _, query := range []string{"?case=", "?case=x/5", "?case=" + events.StudyKey(desktest.Study) + "/99"} {
		want(t, in.SignedIn(desktest.User).Get("/live"+query), 404)
	}
	for range 7 {
		follow(t, other, "5")
	}
	if p := want(t, other.Get(path), 503); p.Header.Get("Retry-After") == "" {
		t.Error("too many streams are refused without Retry-After")
	}
	counted(t, in, "signoff_desk_live_streams", " 8")
	in.Desk.Stop()
	if _, err := io.ReadAll(more); err != nil {
		t.Error(err)
	}
}

// A stream on which nothing happens goes on from one heartbeat to the next. Over HTTP/2 it
// would end with the time that there is for an event.
func TestAQuietStreamGoesOn(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	server := httptest.NewUnstartedServer(in.Desk)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/live", http.NoBody)
	desktest.OK(t, err)
	r.Header.Set("Cookie", "__Host-desk="+in.SignedIn(desktest.User).Cookie())
	answer, err := server.Client().Do(r)
	desktest.OK(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 {
		t.Fatalf("answered %s over %s", answer.Status, answer.Proto)
	}
	stream := bufio.NewReader(answer.Body)
	for line := ""; !strings.HasPrefix(line, ":"); {
		if line, err = stream.ReadString('\n'); err != nil {
			t.Fatalf("before the first heartbeat: %v", err)
		}
	}
	in.Desk.Stop()
	if _, err := io.ReadAll(stream); err != nil {
		t.Errorf("at the end: %v", err)
	}
}

func TestStreamsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	counters := metrics.New()
	in := desktest.Install(t, desk.Config{MaxStreams: 9, Metrics: counters})
	b, again, other := in.SignedIn(desktest.User), in.SignedIn(desktest.User), in.SignedIn(desktest.OtherUser)
	streams := func(count string) {
		t.Helper()
		if got := gathered(t, counters); !strings.Contains(got, "\nsignoff_desk_live_streams "+count+"\n") {
			t.Errorf("there are not %s streams:\n%s", count, got)
		}
	}
	for range 10 {
		if p := want(t, b.Do(http.MethodHead, "/live", nil), 200); p.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("HEAD: %v", p.Header)
		}
	}
	streams("0") // a stream for HEAD would hold its connection and send nothing
	for range 4 {
		for _, of := range []*desktest.Browser{b, again} {
			if answer := of.Open("/live"); answer.StatusCode != http.StatusOK {
				t.Fatalf("answered %d", answer.StatusCode)
			}
		}
	}
	streams("8")
	want(t, b.Get("/live"), 503)
	want(t, again.Get("/live"), 503) // another session of the PI has no more
	if answer := other.Open("/live"); answer.StatusCode != http.StatusOK {
		t.Errorf("another PI: %d", answer.StatusCode)
	}
	want(t, other.Get("/live"), 503) // there are as many as there may be
	want(t, other.Get("/waiting"), 200)
}
