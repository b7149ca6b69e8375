package datadir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// installed returns a data directory with files and keys.
func installed(t *testing.T) Dir {
	t.Helper()
	dir := Dir(filepath.Join(t.TempDir(), "data"))
	for _, path := range []string{string(dir), dir.Keys(), dir.NATSKeys()} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir.Outbox(), dir.ReadModel(), dir.TokenKey(), filepath.Join(dir.NATSKeys(), "accounts.nk"), dir.lockFile()} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestADataDirectoryThatOthersCanChangeIsRefused(t *testing.T) {
	chmod := func(t *testing.T, path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	chown := func(t *testing.T, path string) {
		t.Helper()
		if os.Geteuid() != 0 {
			t.Skip("only root can change the owner of a file")
		}
		if err := os.Chown(path, 12345, -1); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, path string) {
		t.Helper()
		elsewhere := filepath.Join(t.TempDir(), "elsewhere")
		if err := os.Rename(path, elsewhere); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, path); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name       string
		change     func(t *testing.T, dir Dir)
		allowGroup bool
		want       []string // in the error; none for no error
	}{
		{"private", func(*testing.T, Dir) {}, false, nil},
		{"readable for others", func(t *testing.T, dir Dir) { chmod(t, string(dir), 0o755) }, false, nil},
		{"writable for the group", func(t *testing.T, dir Dir) { chmod(t, string(dir), 0o770) }, false, []string{"the group can write", "chmod g-w", "--allow-group"}},
		{"writable for the group that is allowed to", func(t *testing.T, dir Dir) { chmod(t, string(dir), 0o770) }, true, nil},
		{"writable for all", func(t *testing.T, dir Dir) { chmod(t, string(dir), 0o777) }, true, []string{"every user can write", "chmod o-w"}},
		{"of another user", func(t *testing.T, dir Dir) { chown(t, string(dir)) }, true, []string{"belongs to user 12345", "chown"}},
		{"with a database that all can write", func(t *testing.T, dir Dir) { chmod(t, dir.Outbox(), 0o666) }, false, []string{dirname("outbox.db"), "chmod o-w"}},
		{"with keys that all can replace", func(t *testing.T, dir Dir) { chmod(t, dir.NATSKeys(), 0o777) }, false, []string{dirname("keys/nats"), "chmod o-w"}},
		{"with a key of another user", func(t *testing.T, dir Dir) { chown(t, dir.TokenKey()) }, false, []string{dirname("keys/token.jwk"), "chown"}},
		{"whose lock is a link", func(t *testing.T, dir Dir) { link(t, dir.lockFile()) }, false, []string{dirname("lock"), "symbolic link"}},
		{"whose outbox is a link", func(t *testing.T, dir Dir) { link(t, dir.Outbox()) }, false, []string{dirname("outbox.db"), "symbolic link"}},
		{"whose read model is a link", func(t *testing.T, dir Dir) { link(t, dir.ReadModel()) }, false, []string{dirname("readmodel.db"), "symbolic link"}},
		{"whose log is a dangling link", func(t *testing.T, dir Dir) {
			if err := os.Symlink("nowhere", dir.Outbox()+"-wal"); err != nil {
				t.Fatal(err)
			}
		}, false, []string{dirname("outbox.db-wal"), "symbolic link"}},
		{"whose keys are a link", func(t *testing.T, dir Dir) { link(t, dir.Keys()) }, false, []string{dirname("keys"), "symbolic link"}},
		{"with a key that is a link", func(t *testing.T, dir Dir) { link(t, dir.TokenKey()) }, false, []string{dirname("keys/token.jwk"), "symbolic link"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := installed(t)
			c.change(t, dir)
			got, err := Resolve(string(dir), c.allowGroup)
			if len(c.want) == 0 {
				if err != nil || got != dir {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err == nil {
				t.Fatal("the directory is accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not contain %q", err, want)
				}
			}
		})
	}
}

// dirname returns how a path in a data directory ends in a message.
func dirname(name string) string { return "/data/" + name }

func TestALinkToADataDirectoryIsResolvedBeforeTheCheck(t *testing.T) {
	dir := installed(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(string(dir), link); err != nil {
		t.Fatal(err)
	}
	if got, err := Resolve(link, false); err != nil || got != dir {
		t.Errorf("got %q, %v; want %q", got, err, dir)
	}
	if err := os.Chmod(string(dir), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(link, false); err == nil {
		t.Error("a link hides that all can write the directory")
	}
}

func TestADataDirectoryThatDoesNotExistIsAccepted(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "data")
	if got, err := Resolve(missing, false); err != nil || got != Dir(missing) {
		t.Errorf("got %q, %v", got, err)
	}
}
