package datadir

import "testing"

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
