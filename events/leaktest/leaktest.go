// Package leaktest finds goroutines that the tests of a package leave behind.
package leaktest

import (
	"time"

	"go.uber.org/goleak"
)

// store is the package of the embedded NATS server's file store, which now and then leaves
// goroutines behind.
const store = "github.com/nats-io/nats-server/v2/server"

// Main runs the tests, which are a *testing.M or call one, and ends the process. It fails if
// goroutines are left behind. TestMain calls it.
func Main(m goleak.TestingM) {
	ignored := []goleak.Option{
		goleak.IgnoreTopFunction(store + ".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction(store + ".(*msgBlock).flushLoop"),
		goleak.IgnoreTopFunction(store + "/ats.Register.func1"),
	}
	goleak.VerifyTestMain(patient{m, ignored}, ignored...)
}

// patience is how long goroutines have to end after the last test. The half second of goleak
// is too short for a loaded machine.
const patience = time.Minute

// patient is a test run that ends when its goroutines have.
type patient struct {
	goleak.TestingM
	ignored []goleak.Option
}

// Run runs the tests. If they succeed, it then waits until no goroutine is left, or patience
// is over.
func (p patient) Run() int {
	status := p.TestingM.Run()
	for limit := time.Now().Add(patience); status == 0 && time.Now().Before(limit); {
		if goleak.Find(p.ignored...) == nil { // which waits between attempts
			break
		}
	}
	return status
}
