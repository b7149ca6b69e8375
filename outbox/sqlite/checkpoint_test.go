package sqlite_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
)

func TestMaintain(t *testing.T) {
	db := openTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- db.Maintain(ctx) }()
	if err := db.Update(t.Context(), func(tx *sqlx.Tx) error { _, err := tx.Exec("insert into t (n) values (1)"); return err }); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(db.Path())
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for deadline := time.Now().Add(time.Minute); size() < 8192; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log never reached the database")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
