package datadir

import (
	"os"
	"testing"
)

func TestCheckingForAServerDoesNotPreventItsStart(t *testing.T) {
	dir := Dir(t.TempDir())
	stop, looking := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(looking)
		for {
			select {
			case <-stop:
				return
			default:
				dir.Running()
			}
		}
	}()
	for range 300 {
		unlock, err := dir.Lock("serve")
		if err != nil {
			t.Fatal(err)
		}
		if !dir.Locked() {
			t.Fatal("the lock is not seen")
		}
		unlock()
	}
	close(stop)
	<-looking
	if dir.Locked() {
		t.Error("checking for a server holds the lock")
	}
}

func TestAKilledServerIsNotTakenForARunningOne(t *testing.T) {
	dir := Dir(t.TempDir())
	if err := dir.WriteServeFile(Serving{PID: 1, Listen: "127.0.0.1:8080"}); err != nil {
		t.Fatal(err)
	}
	unlock, err := dir.Lock("rebuild") // the server that wrote serve.json was killed
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := dir.Running(); ok {
		t.Errorf("the killed server runs: %+v", s)
	}
	if err := dir.WriteServeFile(Serving{PID: 2}); err != nil {
		t.Fatal(err)
	}
	if s, ok := dir.Running(); !ok || s.PID != 2 {
		t.Errorf("the server that holds the lock does not run: %+v, %t", s, ok)
	}
	unlock()
	if _, ok := dir.Running(); ok {
		t.Error("a server runs without the lock")
	}
}

func TestALockThatCannotBeLookedAtIsTakenForOneThatIsHeld(t *testing.T) {
	dir := Dir(t.TempDir())
	if dir.Locked() || dir.Served() {
		t.Error("a directory without a lock file is locked")
	}
	if err := os.Symlink("lock", dir.lockFile()); err != nil { // to itself, so that it cannot be opened
		t.Fatal(err)
	}
	if !dir.Locked() || !dir.Served() {
		t.Error("nobody seems to hold a lock that cannot be opened")
	}
	if _, ok := dir.Running(); ok {
		t.Error("a server without serve.json can be called")
	}
}
