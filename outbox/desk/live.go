package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Times of a stream of events.
const (
	streamPause     = time.Second      // least time between two readings of the case
	streamHeartbeat = 15 * time.Second // between two comments, which keep the connection open
)

// maxStreamsPerPI bounds the streams of a PI at the same time, over all sessions, so that
// one cannot take those of the others.
const maxStreamsPerPI = 8

// streams counts the streams that are open.
type streams struct {
	max int

	mu     sync.Mutex
	all    int
	ofUser map[string]int
}

// open counts a stream of a PI, unless there are too many. The caller calls done when the
// stream ends.
func (ss *streams) open(user string) (done func(), ok bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.all >= ss.max || ss.ofUser[user] >= maxStreamsPerPI {
		return nil, false
	}
	ss.all++
	ss.ofUser[user]++
	return func() {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		ss.all--
		if ss.ofUser[user]--; ss.ofUser[user] == 0 {
			delete(ss.ofUser, user)
		}
	}, true
}

// liveOf returns the path of the stream of a case.
func liveOf(key string, number int32) string {
	return livePath + "?case=" + key + "/" + strconv.FormatInt(int64(number), 10)
}

// live answers with server-sent events about a case: "waiting" when what waits or was
// signed has changed, "published" when an event of a report has got its stream sequence,
// "delivered" and "acknowledged" when a partner has received it. Their data are ids only.
// What the browser shows of them it asks for by itself. Without a case in the query it sends
// "waiting" when how much waits for the PI has changed.
//
// The connection ends when the browser closes it or does not read, with the session or the
// grant, and with Stop. It is no activity of the PI.
func (d *Desk) live(w http.ResponseWriter, q *request) error {
	var study string
	var n int32
	var err error
	if q.URL.Query().Has("case") {
		key, number, _ := strings.Cut(q.URL.Query().Get("case"), "/")
		q.SetPathValue("key", key)
		q.SetPathValue("case", number)
		if study, n, err = q.grantedCase(); err != nil {
			return err
		}
	}
	if q.Method == http.MethodHead { // a stream without events would never end
		w.Header().Set("Content-Type", "text/event-stream")
		return nil
	}
	done, ok := d.streams.open(q.pi.User)
	if !ok {
		w.Header().Set("Retry-After", "15")
		return &events.Error{Code: events.Unavailable, Message: "too many pages follow a case; close some"}
	}
	defer done()
	closed := d.cfg.Metrics.OpenStream()
	defer closed()
	changed, stop := d.outbox.Watch() // before the first reading, so that nothing is missed
	defer stop()
	last, err := d.look(q.Context(), q.pi.Studies, study, n)
	if err != nil {
		return hidden(err, errNoCase)
	}
	w.Header().Set("No-Gzip-Compression", "1") // it would keep events back
	s := &stream{page.NewEventStream(w), d, q, study}
	defer s.End()
	if s.Send("retry: 3000\n\n") {
		s.follow(n, last, changed)
	}
	return nil
}

// stream is a connection to a browser that follows a case, or, without a study, what waits.
type stream struct {
	page.EventStream

	d     *Desk
	q     *request
	study string
}

// follow sends events until the stream ends. The case was read as last.
func (s *stream) follow(number int32, last caseState, changed <-chan struct{}) {
	heartbeat, pause := time.NewTicker(streamHeartbeat), time.NewTimer(streamPause)
	defer heartbeat.Stop()
	defer pause.Stop()
	var due <-chan struct{} // changed, but nil during the pause after a reading
	for {
		text := ": still here\n\n"
		select {
		case <-s.q.Context().Done():
			return
		case <-s.d.stopped:
			return
		case <-s.q.session.Done():
			return
		case <-pause.C:
			due = changed
			continue
		case <-due:
			due = nil
			pause.Reset(streamPause)
			now, err := s.d.look(s.q.Context(), s.q.pi.Studies, s.study, number)
			if err != nil { // the browser connects again
				if s.q.Context().Err() == nil {
					s.d.cfg.Log.WarnContext(s.q.Context(), "cannot follow a case", "cause", err)
				}
				return
			}
			text, last = eventsBetween(last, now), now
			if text == "" {
				continue
			}
		case <-heartbeat.C:
		}
		if !s.allowed() || !s.Send(text) {
			return
		}
	}
}

// allowed reports whether the session is not over and its PI is still granted the study.
func (s *stream) allowed() bool {
	standing, err := s.d.sessions.Check(s.q.Context(), s.q.session)
	if err != nil && !errors.As(err, &session.EndedError{}) && s.q.Context().Err() == nil {
		s.d.cfg.Log.WarnContext(s.q.Context(), "cannot check the session of a stream", "cause", err)
	}
	return err == nil && (s.study == "" || slices.Contains(standing.Studies, s.study))
}

// caseState is what a stream compares of a case.
type caseState struct {
	StudyKey string
	Number   int32
	stamp    string
	reports  []review.Visit // that were signed
	partners map[string]events.Receipt
}

// look reads the state of a case, or without a study what waits in the studies of a PI: how
// much, and the version registered last.
func (d *Desk) look(ctx context.Context, studies []string, study string, number int32) (state caseState, err error) {
	if study == "" {
		size, err := d.outbox.Reviews().QueueSize(ctx, review.QueueFilter{Studies: studies})
		return caseState{stamp: fmt.Sprint(size)}, err
	}
	c, err := d.outbox.Reviews().Case(ctx, study, number)
	if err != nil {
		return state, err
	}
	state = caseState{StudyKey: c.StudyKey, Number: number, stamp: c.Stamp, partners: map[string]events.Receipt{}}
	for _, v := range c.Visits {
		if v.Signed != nil {
			state.reports = append(state.reports, v)
		}
	}
	receipts, err := d.outbox.Receipts().Receipts(ctx)
	for _, r := range receipts {
		if r.Study == c.StudyKey {
			state.partners[r.Partner] = r
		}
	}
	return state, err
}

// eventsBetween returns the events that tell a browser what is different in a case, or "".
func eventsBetween(before, now caseState) string {
	var b strings.Builder
	write := func(name string, ids map[string]any) {
		if now.StudyKey != "" {
			ids["case"] = now.StudyKey + "/" + strconv.FormatInt(int64(now.Number), 10)
		}
		data, _ := json.Marshal(ids) // strings are no error
		b.WriteString("event: " + name + "\ndata: " + string(data) + "\n\n")
	}
	if before.stamp != now.stamp {
		write("waiting", map[string]any{})
	}
	published := map[string]bool{}
	for _, v := range before.reports {
		published[v.Signed.Publication.Event] = v.Signed.Publication.StreamSequence > 0
	}
	for _, v := range now.reports {
		p := v.Signed.Publication
		if p.StreamSequence == 0 {
			continue
		}
		if !published[p.Event] {
			write("published", map[string]any{"assessment": v.ID, "event": p.Event})
		}
		for _, partner := range slices.Sorted(maps.Keys(now.partners)) {
			r, was := now.partners[partner], before.partners[partner]
			ids := map[string]any{"assessment": v.ID, "event": p.Event, "partner": partner}
			switch {
			case r.Acknowledged >= p.StreamSequence && was.Acknowledged < p.StreamSequence:
				write("acknowledged", ids)
			case r.Delivered >= p.StreamSequence && was.Delivered < p.StreamSequence:
				write("delivered", ids)
			}
		}
	}
	return b.String()
}
