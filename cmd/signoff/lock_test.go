package main

import "testing"

func TestWhoLooksForAServerIsNotInItsWay(t *testing.T) {
	dir := dataDir(t.TempDir())
	stop, looking := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(looking)
		for {
			select {
			case <-stop:
				return
			default:
				dir.running()
			}
		}
	}()
	for range 300 {
		unlock, err := dir.lock("serve")
		if err != nil {
			t.Fatal(err)
		}
		if !dir.locked() {
			t.Fatal("the lock is not seen")
		}
		unlock()
	}
	close(stop)
	<-looking
	if dir.locked() {
		t.Error("who looks holds the lock")
	}
}
