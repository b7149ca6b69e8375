package brokertest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// VerifyTestMain runs the tests and ends the process, as goleak.VerifyTestMain does. It
// fails if goroutines are left, except those that the server's file store now and then leaves
// behind when a server is stopped or a stream deleted in the midst of work.
func VerifyTestMain(m *testing.M) {
	const store = "github.com/nats-io/nats-server/v2/server"
	left := []goleak.Option{
		goleak.IgnoreTopFunction(store + ".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction(store + ".(*msgBlock).flushLoop"),
		goleak.IgnoreTopFunction(store + "/ats.Register.func1"),
	}
	goleak.VerifyTestMain(patiently{m, left}, left...)
}

// patiently runs tests and waits until no goroutines are left, because goleak waits for less
// than half a second. The server removes the files of a stream in the background.
type patiently struct {
	m    *testing.M
	left []goleak.Option
}

// Run runs the tests.
func (p patiently) Run() (code int) {
	code = p.m.Run()
	for end := time.Now().Add(time.Minute); code == 0 && goleak.Find(p.left...) != nil && time.Now().Before(end); {
	}
	return code
}
