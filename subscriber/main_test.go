package subscriber_test

import (
	"os"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	leaktest.Main(m)
}

// enough is time for anything, on a slow and loaded machine.
const enough = 2 * time.Minute

// ended returns what Follow returned.
func ended(t testing.TB, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(enough):
		t.Fatal("Follow did not end")
		return nil
	}
}
