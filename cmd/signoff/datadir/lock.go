package datadir

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockExclusively locks the file. If others have a shared lock, it waits for them, because
// they are calls of Locked, which takes one for a moment. If another process has locked the
// file exclusively, it tries for a second.
func lockExclusively(f *os.File) error {
	const wait = 20 * time.Millisecond
	exclusive, shared := 50, 1500 // attempts that are left while such a lock is held
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
			exclusive--
		} else {
			shared--
			_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // the attempt above reports an error that lasts
		}
		if exclusive == 0 || shared == 0 {
			return err
		}
		time.Sleep(wait)
	}
}

// Locked reports whether a process holds the directory's lock. To find out, it takes a
// shared lock for a moment. Shared locks do not exclude each other, so concurrent calls do
// not take each other for the holder. If it cannot find out, it reports true: a command must
// not tell that no server runs, and that nothing is served, when one may.
func (d Dir) Locked() bool {
	f, err := os.Open(d.lockFile())
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close() //nolint:errcheck // closing releases the lock
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}
