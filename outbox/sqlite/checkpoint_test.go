package sqlite_test

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestRunCheckpoints(t *testing.T) {
	db := openTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- db.RunCheckpoints(ctx) }()
	if err := db.Update(t.Context(), insert(1)); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(db.Path())
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for deadline := time.Now().Add(10 * time.Second); size() < 8192; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log never reached the database")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
