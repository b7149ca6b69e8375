package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsconf"
)

func TestNATSConfigRefusesInvalidFlags(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	for want, args := range map[string][]string{
		"host name":                   {"--insecure", "--node", "a b"},
		"twice":                       {"--insecure", "--node", "a", "--node", "a", "--node", "b"},
		"two servers":                 {"--insecure", "--node", "a", "--node", "b"},
		"plain text":                  {"--node", "a"},
		"not host:port":               {"--insecure", "--client-listen", "a"},
		"--server-cert and":           {"--insecure", "--server-cert", "a"},
		"--cluster-ca,":               {"--insecure", "--cluster-cert", "a", "--cluster-key", "b"},
		"signoff serve pushes":        {"--insecure", "--reload"},
		`there is no key "nobody"`:    {"--insecure", "--new-key", "nobody"},
		`there is no key "../logins"`: {"--insecure", "--new-key", "../logins"},
	} {
		r := signoff(t, append([]string{"nats-config", "--data", t.TempDir(), "--out", out}, args...)...)
		if r.status == exitDone || !strings.Contains(r.err, want) {
			t.Errorf("%q: status %d, %s; want %q", args, r.status, r.err, want)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

// filesIn returns the files below a directory, by their paths in it. All must be their
// owner's only.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
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
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// seedsIn returns the kinds of keys of which a file holds the seed, by their public halves.
func seedsIn(content string) map[string]nkeys.PrefixByte {
	all := make(map[string]nkeys.PrefixByte)
	for _, word := range strings.FieldsFunc(content, func(r rune) bool { return strings.ContainsRune(" \n\"", r) }) {
		kind, _, err := nkeys.DecodeSeed([]byte(word))
		if err != nil {
			continue
		}
		if pair, err := nkeys.FromSeed([]byte(word)); err == nil {
			public, _ := pair.PublicKey()
			all[public] = kind
		}
	}
	return all
}

func TestNATSConfigDoesNotChangeWithPartners(t *testing.T) {
	t.Parallel()
	data, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	mustSignoff(t, "partner", "add", "acme", "--study", "S", "--data", data)
	args := []string{"nats-config", "--data", data, "--out", out, "--insecure", "--node", "a", "--node", "b", "--node", "c"}
	first := mustSignoff(t, args...)
	before := filesIn(t, out)
	for name, content := range before {
		for public := range seedsIn(content) {
			if strings.Contains(first.out, public) {
				t.Errorf("standard output shows what is in %s", name)
			}
		}
	}
	unchanged := func(after string) {
		t.Helper()
		if again := mustSignoff(t, args...); !strings.Contains(again.out, "nothing has changed") {
			t.Errorf("after %s: %s", after, again.out)
		}
		if diff := cmp.Diff(before, filesIn(t, out)); diff != "" {
			t.Errorf("after %s:\n%s", after, diff)
		}
	}
	unchanged("nothing")
	mustSignoff(t, "partner", "grant", "acme", "T", "--data", data)
	mustSignoff(t, "partner", "add", "other", "--study", "T", "--data", data)
	unchanged("a grant and a new partner")
	mustSignoff(t, "partner", "remove", "acme", "--data", data)
	unchanged("a removal")

	// What is backed up is enough to write the same files elsewhere.
	restored, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "out")
	if err := os.CopyFS(datadir.Dir(restored).Keys(), os.DirFS(datadir.Dir(data).Keys())); err != nil {
		t.Fatal(err)
	}
	args[slices.Index(args, data)], args[slices.Index(args, out)] = restored, elsewhere
	mustSignoff(t, args...)
	if diff := cmp.Diff(before, filesIn(t, elsewhere)); diff != "" {
		t.Errorf("from a copy of the keys:\n%s", diff)
	}
}

// Neither the servers nor callout get a key that signs accounts or users of roles.
func TestNATSConfigKeepsKeysThatSignAccounts(t *testing.T) {
	t.Parallel()
	data, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	mustSignoff(t, "nats-config", "--data", data, "--out", out, "--insecure")
	own := make(map[string]string)
	for name, content := range filesIn(t, datadir.Dir(data).NATSKeys()) {
		for public := range seedsIn(content) {
			own[public] = name
		}
	}
	if len(own) < 12 {
		t.Fatalf("%d keys", len(own))
	}
	var callout []string
	for name, content := range filesIn(t, out) {
		dir := filepath.Dir(name)
		if dir == natsconf.CalloutDir {
			callout = append(callout, filepath.Base(name))
		}
		for public, kind := range seedsIn(content) {
			switch from := own[public]; {
			case name == filepath.Join(natsconf.CalloutDir, natsconf.AnswersFile):
				if from != "logins.nk" && from != "answers.nk" {
					t.Errorf("%s holds %s", name, from)
				}
			case dir == "." || from != "" || kind != nkeys.PrefixByteUser:
				t.Errorf("%s holds the seed of %s, %s", name, public, from)
			}
		}
	}
	slices.Sort(callout)
	if want := []string{"answers.json", "callout.creds", "doors.creds", "reader.creds"}; !slices.Equal(callout, want) {
		t.Errorf("callout has %q, want %q", callout, want)
	}
}

func TestNATSConfigMakesAnotherKey(t *testing.T) {
	t.Parallel()
	data, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	args := []string{"nats-config", "--data", data, "--out", out, "--insecure"}
	mustSignoff(t, args...)
	for key, want := range map[string][]string{
		"accounts": {"operator.conf"},
		"logins":   {"callout/answers.json"},
		"answers":  {"callout/answers.json", "operator.conf"},
		"keeper":   {"credentials/keeper.creds", "operator.conf"},
		"reader":   {"callout/reader.creds", "credentials/reader.creds", "operator.conf"},
		"sentinel": {"operator.conf"},
	} {
		before := filesIn(t, out)
		r := mustSignoff(t, append(args, "--new-key", key)...)
		if !strings.Contains(r.out, "start the servers concerned again") {
			t.Errorf("%s: %s", key, r.out)
		}
		var changed []string
		for name, content := range filesIn(t, out) {
			if content != before[name] {
				changed = append(changed, name)
			}
		}
		slices.Sort(changed)
		if !slices.Equal(changed, want) {
			t.Errorf("another key %s changes %q, want %q", key, changed, want)
		}
		if again := mustSignoff(t, args...); !strings.Contains(again.out, "nothing has changed") {
			t.Errorf("%s: the next time %s", key, again.out)
		}
	}
}

func TestNATSConfigBeforeThereIsAnyData(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	mustSignoff(t, "nats-config", "--data", data, "--out", filepath.Join(t.TempDir(), "out"), "--insecure")
	if _, err := os.Stat(datadir.Dir(data).Outbox()); !os.IsNotExist(err) {
		t.Errorf("an outbox was made, with a namespace that nobody chose: %v", err)
	}
}

// A flag or variable of before names what to use in its place.
func TestFlagsThatAreGone(t *testing.T) {
	t.Run("flags", func(t *testing.T) {
		for _, command := range []string{"serve", "callout", "rebuild"} {
			for _, flag := range []string{"--nats-user=x", "--nats-password-file=x", "--nats-token-file=x", "--nats-nkey-file=x", "--nats-nkey-file"} {
				r := signoff(t, command, "--data", t.TempDir(), flag)
				name, _, _ := strings.Cut(flag, "=")
				if r.status != exitUsage || !strings.Contains(r.err, name) || !strings.Contains(r.err, "use --nats-creds") {
					t.Errorf("%s %s: status %d, %s", command, flag, r.status, r.err)
				}
				if help := mustSignoff(t, command, "--help"); strings.Contains(help.out, name) {
					t.Errorf("%s --help shows %s", command, name)
				}
			}
		}
	})
	t.Run("a variable", func(t *testing.T) {
		t.Setenv("SIGNOFF_NATS_PASSWORD_FILE", "x")
		if r := signoff(t, "serve", "--data", t.TempDir()); r.status != exitUsage || !strings.Contains(r.err, "use --nats-creds") {
			t.Errorf("status %d, %s", r.status, r.err)
		}
	})
}

func TestCalloutNeedsAServerAndKeys(t *testing.T) {
	t.Parallel()
	creds := credentialFiles(t)
	for want, args := range map[string][]string{
		"--nats-url":   nil,
		"--nats-creds": {"--nats-url", "nats://127.0.0.1:1", "--ops-listen", "127.0.0.1:0"},
		"--login-key":  {"--nats-url", "nats://127.0.0.1:1", "--nats-creds", creds, "--ops-listen", "127.0.0.1:0"},
		"reader.creds": {"--nats-url", "nats://127.0.0.1:1", "--nats-creds", filepath.Join(t.TempDir(), "{role}.creds"), "--ops-listen", "127.0.0.1:0"},
		"plain text":   {"--nats-url", "nats://127.0.0.1:1", "--nats-creds", creds, "--ops-listen", "0.0.0.0:0"},
	} {
		r := signoff(t, append([]string{"callout", "--data", t.TempDir()}, args...)...)
		if r.status == exitDone || !strings.Contains(r.err, want) {
			t.Errorf("%q: status %d, %s; want %q", args, r.status, r.err, want)
		}
	}
}
