package outbox_test

import (
	"os"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestPingWritesToTheDisk(t *testing.T) {
	d := newOutbox(t)
	size := func() int64 {
		t.Helper()
		return must(os.Stat(d.path + "-wal"))(t).Size()
	}
	before, head := size(), must(d.ChainHead(t.Context(), events.AccessStudy))(t)
	ok(t, d.Ping(t.Context()))
	if after := size(); after <= before {
		t.Errorf("the log has %d bytes, and had %d", after, before)
	}
	if got := must(d.ChainHead(t.Context(), events.AccessStudy))(t); got != head {
		t.Errorf("the chain head became %v", got)
	}
	_, err := d.DB().Writer.Exec("pragma query_only = on")
	ok(t, err)
	wantCode(t, d.Ping(t.Context()), events.Unavailable)
}
