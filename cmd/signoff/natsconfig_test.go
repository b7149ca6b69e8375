package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsconf"
)

func TestNATSConfigRefusesInvalidFlags(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	for want, args := range map[string][]string{
		"host name":         {"--insecure", "--node", "a b"},
		"twice":             {"--insecure", "--node", "a", "--node", "a", "--node", "b"},
		"two servers":       {"--insecure", "--node", "a", "--node", "b"},
		"plain text":        {"--node", "a"},
		"not host:port":     {"--insecure", "--client-listen", "a"},
		"--server-cert and": {"--insecure", "--server-cert", "a"},
		"--cluster-ca,":     {"--insecure", "--cluster-cert", "a", "--cluster-key", "b"},
		"--reload needs":    {"--insecure", "--reload"},
	} {
		r := signoff(t, append([]string{"nats-config", "--data", t.TempDir(), "--out", out}, args...)...)
		if r.status != exitUsage || !strings.Contains(r.err, want) {
			t.Errorf("%q: status %d, %s; want %q", args, r.status, r.err, want)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

func TestNATSConfigWritesForItsOwnerOnly(t *testing.T) {
	data, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	mustSignoff(t, "partner", "add", "acme", "--study", "S", "--data", data)
	args := []string{"nats-config", "--data", data, "--out", out, "--insecure", "--node", "a", "--node", "b", "--node", "c"}
	first := mustSignoff(t, args...)
	var files []string
	err := filepath.WalkDir(out, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %s", path, info.Mode())
		}
		if d.IsDir() {
			return nil
		}
		files = append(files, path)
		content, err := os.ReadFile(path)
		if err == nil && filepath.Ext(path) == natsconf.PasswordSuffix && strings.Contains(first.out, strings.TrimSpace(string(content))) {
			t.Errorf("standard output shows %s", path)
		}
		return err
	})
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if again := mustSignoff(t, args...); !strings.Contains(again.out, "nothing has changed") {
		t.Errorf("the second time: %s", again.out)
	}
	mustSignoff(t, "partner", "grant", "acme", "T", "--data", data)
	if again := mustSignoff(t, args...); !strings.Contains(again.out, natsconf.AccountsConf) || !strings.Contains(again.out, "--signal reload") || strings.Contains(again.out, "twice") {
		t.Errorf("after a grant: %s", again.out)
	}
	mustSignoff(t, "partner", "add", "other", "--data", data)
	if again := mustSignoff(t, args...); !strings.Contains(again.out, "twice") {
		t.Errorf("with a new partner: %s", again.out)
	}
	mustSignoff(t, "partner", "remove", "acme", "--data", data)
	mustSignoff(t, args...)
	content, err := os.ReadFile(filepath.Join(out, natsconf.AccountsConf))
	if err != nil || strings.Contains(string(content), "acme") {
		t.Errorf("after the removal, %v:\n%s", err, content)
	}
}

func TestNATSConfigBeforeThereIsAnyData(t *testing.T) {
	data := t.TempDir()
	mustSignoff(t, "nats-config", "--data", data, "--out", filepath.Join(t.TempDir(), "out"), "--insecure")
	if _, err := os.Stat(datadir.Dir(data).Outbox()); !os.IsNotExist(err) {
		t.Errorf("an outbox was made, with a namespace that nobody chose: %v", err)
	}
}

func TestCalloutNeedsAServerAndAKey(t *testing.T) {
	password := passwordFile(t)
	for want, args := range map[string][]string{
		"--nats-url":  nil,
		"--login-key": {"--nats-url", "nats://127.0.0.1:1", "--nats-password-file", password, "--ops-listen", "127.0.0.1:0"},
		"plain text":  {"--nats-url", "nats://127.0.0.1:1", "--nats-password-file", password, "--ops-listen", "0.0.0.0:0"},
	} {
		r := signoff(t, append([]string{"callout", "--data", t.TempDir()}, args...)...)
		if r.status == exitDone || !strings.Contains(r.err, want) {
			t.Errorf("%q: status %d, %s; want %q", args, r.status, r.err, want)
		}
	}
}
