package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// KeyFile returns the content of a key file. If there is none, it writes what create
// returns to the file, and returns that.
func KeyFile(path string, create func() ([]byte, error)) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	if key, err = create(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create the key directory: %w", err)
	}
	if err := WriteFile(path, key); err != nil {
		return nil, fmt.Errorf("write a key: %w", err)
	}
	return key, nil
}

// WriteFile writes a secret file that only its owner can read. The file is replaced
// as a whole or not at all, also when power is lost.
func WriteFile(path string, content []byte) error { return operator.WriteFile(path, content) }
