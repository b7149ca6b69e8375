package publisher_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRelay(t *testing.T) {
	t.Run("publishes a backlog in batches and then one event at once", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newBox(t)
		source.add("A", 700, 500)
		source.add("B", 600, 500)
		r := run(t, b, source, publisher.Config{})
		r.reaches(1300)
		source.add("A", 1, 500)
		r.reaches(1301)
		same(t, b, source, 1301)
	})
}
