package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
)

// With other keys the partners' accounts would be others.
func TestEachStartOfTheEmbeddedServerUsesTheSameKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := func() map[string]string {
		t.Helper()
		all := make(map[string]string)
		root := os.DirFS(datadir.Dir(dir).NATSKeys())
		err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := fs.ReadFile(root, path)
			all[path] = string(content)
			return err
		})
		if err != nil || len(all) == 0 {
			t.Fatalf("%d keys, %v", len(all), err)
		}
		return all
	}
	mustSignoff(t, "partner", "add", "acme", "--study", "S", "--data", dir)
	mustSignoff(t, "rebuild", "--data", dir)
	before := keys()
	p, stop := startServer(t, dir)
	creds := p.Dir.OperatorCreds()
	if info, err := os.Stat(creds); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the operator's credentials: %v, %v", info, err)
	}
	stop()
	if _, err := os.Stat(creds); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the operator's credentials after the end: %v", err)
	}
	mustSignoff(t, "rebuild", "--data", dir)
	if diff := cmp.Diff(before, keys()); diff != "" {
		t.Errorf("other keys:\n%s", diff)
	}
	stores, err := filepath.Glob(filepath.Join(dir, "jetstream", "*"))
	if err != nil || len(stores) != 1 {
		t.Errorf("stores %v, %v", stores, err)
	}
}
