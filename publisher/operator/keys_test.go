package operator_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

func TestKeysAreMadeOnceAndReadAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys", "nats")
	first, err := operator.OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.RoleKeys(); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	second, err := operator.OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.RoleKeys(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("files have changed:\n%s", diff)
	}
	if first.Operator != second.Operator || first.App != second.App {
		t.Error("the keys are others")
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the keys there is %v, %v", entries, err)
	}
}

// contents returns the files below a directory. All must be their owner's only.
func contents(t *testing.T, dir string) map[string]string {
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
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		if d.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		all[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestKeysThatAreDamagedAreNotReplaced(t *testing.T) {
	for name, damage := range map[string]struct {
		do   func(path string) error
		want events.Code
	}{
		"missing":      {os.Remove, events.Required},
		"empty":        {func(path string) error { return os.WriteFile(path, nil, 0o600) }, events.Invalid},
		"another kind": {func(path string) error { return os.WriteFile(path, userSeed(t), 0o600) }, events.Invalid},
		"cut": {func(path string) error {
			seed, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, seed[:20], 0o600))
		}, events.Invalid},
	} {
		for _, file := range []string{"operator.nk", "accounts.nk", "logins.nk", "answers.nk"} {
			t.Run(name+" "+file, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "nats")
				if _, err := operator.OpenKeys(dir); err != nil {
					t.Fatal(err)
				}
				if err := damage.do(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
				before := contents(t, dir)
				if _, err := operator.OpenKeys(dir); !errors.Is(err, damage.want) {
					t.Errorf("got %v, want %s", err, damage.want)
				}
				if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
					t.Errorf("files have changed:\n%s", diff)
				}
			})
		}
	}
}

func userSeed(t *testing.T) []byte {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// Another key that signs changes no account's key, so that the stream and partners'
// accounts stay where they are.
func TestAKeyIsRenewed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	first, err := operator.OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.RoleKeys(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"accounts", "logins", "answers", "sentinel", string(operator.Keeper)} {
		before := contents(t, dir)
		if err := operator.RenewKey(dir, name); err != nil {
			t.Fatal(err)
		}
		for path, content := range contents(t, dir) {
			if is := filepath.Base(path) == name+".nk"; is == (content == before[path]) {
				t.Errorf("%s renewed: %s", name, path)
			}
		}
		again, err := operator.OpenKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.RoleKeys(); err != nil {
			t.Fatal(err)
		}
		if again.App != first.App || again.PartnerAccount("acme") != first.PartnerAccount("acme") {
			t.Errorf("%s renewed: accounts have other keys", name)
		}
	}
	before := contents(t, dir)
	for _, name := range []string{"", "../keys/logins", "nobody"} {
		if err := operator.RenewKey(dir, name); !errors.Is(err, events.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestAPartnersKeyIsComputedFromTheOperatorsKeyAndItsID(t *testing.T) {
	k := newKeys(t)
	digest := sha256.Sum256([]byte(k.Operator + "acme"))
	want, err := nkeys.Encode(nkeys.PrefixByteAccount, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if got := k.PartnerAccount("acme"); got != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	seen := make(map[string]string)
	for name, key := range map[string]string{
		"acme": k.PartnerAccount("acme"), "globex": k.PartnerAccount("globex"), "APP": k.PartnerAccount("APP"), "SYS": k.PartnerAccount("SYS"),
		"the service's APP": k.App, "the service's READ": k.Read, "the service's SYS": k.System, "the service's AUTH": k.Auth,
		"another operator's acme": newKeys(t).PartnerAccount("acme"),
	} {
		if !nkeys.IsValidPublicAccountKey(key) {
			t.Errorf("%s: %s is no account key", name, key)
		}
		if other := seen[key]; other != "" {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[key] = name
	}
}

func newKeys(t *testing.T) *operator.Keys {
	t.Helper()
	k, err := operator.OpenKeys(filepath.Join(t.TempDir(), "nats"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWhatServersReadChangesOnlyWithTheKeys(t *testing.T) {
	k, dir := newKeys(t), filepath.Join(t.TempDir(), "accounts")
	roles, err := k.RoleKeys()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	text := func() string {
		t.Helper()
		p, err := k.Preload(roles, dir, now)
		if err != nil {
			t.Fatal(err)
		}
		return p.Text()
	}
	first, files := text(), contents(t, dir)
	now = now.Add(time.Hour)
	if text() != first || cmp.Diff(files, contents(t, dir)) != "" {
		t.Error("the same keys have made another text later")
	}
	for _, role := range operator.Roles {
		a, err := k.Credentials(roles, role)
		if err != nil {
			t.Fatal(err)
		}
		b, err := k.Credentials(roles, role)
		if err != nil || string(a) != string(b) {
			t.Errorf("credentials of %s differ: %v", role, err)
		}
	}
	if _, err := k.Credentials(roles, "unknown"); !errors.Is(err, events.Invalid) {
		t.Errorf("credentials of an unknown role: %v", err)
	}
	if roles, err = operator.NewRoleKeys(); err != nil {
		t.Fatal(err)
	}
	now = time.Unix(0, 0) // a server prefers what was issued later
	second := text()
	if second == first {
		t.Error("other keys of the roles have made the same text")
	}
	for path, text := range contents(t, dir) {
		before, err := jwt.DecodeGeneric(files[path])
		if err != nil {
			t.Fatal(err)
		}
		after, err := jwt.DecodeGeneric(text)
		if err != nil || after.IssuedAt <= before.IssuedAt {
			t.Errorf("%s: issued at %d and, when it was changed, at %d, %v", path, before.IssuedAt, after.IssuedAt, err)
		}
	}
	if text() != second {
		t.Error("the same keys have made another text")
	}
}

func TestAnswersAreStoredWithoutKeysThatSignAccounts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nats")
	k, err := operator.OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.Answers().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	again, err := operator.ParseAnswers(text)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := again.MarshalText(); err != nil || string(other) != string(text) {
		t.Errorf("read and written again it is %s, %v", other, err)
	}
	for _, file := range []string{"operator.nk", "accounts.nk"} {
		seed, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if contains(text, seed) {
			t.Errorf("it holds %s", file)
		}
	}
	seed, err := os.ReadFile(filepath.Join(dir, "logins.nk"))
	if err != nil {
		t.Fatal(err)
	}
	login := string(bytes.TrimSpace(seed))
	for _, wrong := range []string{
		"", "{}", `{"operator":"` + k.Operator + `","auth":"` + k.Auth + `"}`, `{"operator":"` + k.App + `","auth":"` + k.Auth + `","logins":"x","answers":"y"}`,
		`{"operator":"` + k.Operator + `","auth":"` + k.Auth + `","logins":"` + login + `","answers":"` + login + `"}`,
	} {
		if _, err := operator.ParseAnswers([]byte(wrong)); !errors.Is(err, events.Invalid) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
