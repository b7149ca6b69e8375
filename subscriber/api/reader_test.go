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

// desk is a Reader at the other end of a test: it gives the page it was told
// to and notes what it was asked. What it cannot show, the tests with a real
// read model do.
type desk struct {
	mu        sync.Mutex
	directory access.Directory
	page      readmodel.Page
	reports   map[string]readmodel.Report
	outdated  map[string]string
	err       error
	asked     []readmodel.Query
}

func (d *desk) Search(_ context.Context, q readmodel.Query) (readmodel.Page, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, q)
	page := d.page
	page.Reports = page.Reports[min(q.Offset, len(page.Reports)):]
	page.Reports = page.Reports[:min(q.Limit, len(page.Reports))]
	return page, d.err
}

func (d *desk) Report(_ context.Context, id string) (readmodel.Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, ok := d.reports[id]; ok || d.err != nil {
		return r, d.err
	}
	return readmodel.Report{}, events.Errorf(events.NotFound, "no report %s", id)
}

func (d *desk) Outdated(context.Context) (map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.outdated, d.err
}

func (d *desk) Directory() access.Directory {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.directory
}

func (d *desk) change(f func(d *desk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

// lastQuery returns what the last search asked for.
func (d *desk) lastQuery(t testing.TB) readmodel.Query {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) == 0 {
		t.Fatal("no search reached the read model")
	}
	return d.asked[len(d.asked)-1]
}

// searches counts the searches that came through.
func (d *desk) searches() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)
}
