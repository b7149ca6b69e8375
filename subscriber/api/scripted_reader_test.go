package api_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// noon is when everything happens.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// scriptedReader is a Reader that returns what a test has set and records the
// queries. What it cannot show is tested with a real read model.
type scriptedReader struct {
	mu        sync.Mutex
	directory access.Directory
	page      readmodel.Page
	reports   map[string]readmodel.Report
	outdated  map[string]string
	err       error
	asked     []readmodel.Query
}

func (r *scriptedReader) Search(_ context.Context, q readmodel.Query) (readmodel.Page, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q)
	page := r.page
	page.Reports = page.Reports[min(q.Offset, len(page.Reports)):]
	page.Reports = page.Reports[:min(q.Limit, len(page.Reports))]
	return page, r.err
}

// Head does not know heads, so that each search reaches the reader.
func (*scriptedReader) Head(string) (readmodel.Head, bool) { return readmodel.Head{}, false }

func (r *scriptedReader) Report(_ context.Context, id string) (readmodel.Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if report, ok := r.reports[id]; ok || r.err != nil {
		return report, r.err
	}
	return readmodel.Report{}, events.Errorf(events.NotFound, "no report %s", id)
}

func (r *scriptedReader) Outdated(context.Context) (map[string]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outdated, r.err
}

func (r *scriptedReader) Directory() access.Directory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.directory
}

func (r *scriptedReader) change(f func(r *scriptedReader)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

// lastQuery returns the query of the last search.
func (r *scriptedReader) lastQuery(t testing.TB) readmodel.Query {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) == 0 {
		t.Fatal("no search reached the read model")
	}
	return r.asked[len(r.asked)-1]
}

// searches returns how many searches there were.
func (r *scriptedReader) searches() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}
