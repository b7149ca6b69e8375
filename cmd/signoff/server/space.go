package server

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// leastSpace is how many bytes must be free on each disk that the program writes to. A
// sign-off needs less, but one of many large assessments needs some megabytes.
const leastSpace = 8 << 20

// findSpace returns an error if a disk of the data directory is full, or nearly so. The
// stream of the embedded NATS server may be on another disk than the databases.
func (p *Server) findSpace() error {
	dirs := []string{string(p.Dir)}
	if p.Embedded != nil {
		dirs = append(dirs, filepath.Join(string(p.Dir), "jetstream"))
	}
	for _, dir := range dirs {
		if err := needSpace(dir, leastSpace); err != nil {
			return err
		}
	}
	return nil
}

// needSpace returns an error if fewer than least bytes are free on the disk of a directory.
func needSpace(dir string, least uint64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("look up how much space is free in %s: %w", dir, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < least {
		return fmt.Errorf("the disk of %s is full, or nearly so: %d bytes are free, and %d are needed; free some space", dir, free, least)
	}
	return nil
}
