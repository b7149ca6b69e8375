package datadir

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockExclusively locks the file. If it is locked, it tries for a second, because the
// holder may be a call of Locked, which takes a shared lock for a moment.
func lockExclusively(f *os.File) error {
	const attempts, wait = 50, 20 * time.Millisecond
	var err error
	for range attempts {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		time.Sleep(wait)
	}
	return err
}

// Locked reports whether a process holds the directory's lock. To find out, it takes a
// shared lock for a moment. Shared locks do not exclude each other, so concurrent calls do
// not take each other for the holder.
func (d Dir) Locked() bool {
	f, err := os.Open(d.lockFile())
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // closing releases the lock
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
