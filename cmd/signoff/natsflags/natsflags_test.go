package natsflags_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestFlagsForAnOutsideServerAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		flags    natsflags.Flags
		insecure bool
		want     string // in the refusal; empty: accepted
	}{
		"none":                       {natsflags.Flags{}, false, ""},
		"user and password":          {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222", NATSPasswordFile: "p"}, false, ""},
		"an access token":            {natsflags.Flags{NATSURL: "tls://nats.example.org", NATSTokenFile: "t"}, false, ""},
		"an nkey, several servers":   {natsflags.Flags{NATSURL: "tls://a:4222,tls://b:4222", NATSNkeyFile: "n"}, false, ""},
		"creds and certificates":     {natsflags.Flags{NATSURL: "nats://192.0.2.1", NATSCreds: "c", NATSCA: "ca", NATSCert: "c", NATSKey: "k"}, false, ""},
		"plain text if allowed":      {natsflags.Flags{NATSURL: "nats://192.0.2.1:4222", NATSPasswordFile: "p"}, true, ""},
		"plain text to others":       {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222,nats://192.0.2.1:4222", NATSPasswordFile: "p"}, false, "plain text"},
		"no address":                 {natsflags.Flags{NATSPasswordFile: "p"}, false, "--nats-url"},
		"no secret":                  {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222"}, false, "secret"},
		"two secrets":                {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222", NATSPasswordFile: "p", NATSCreds: "c"}, false, "use only one"},
		"a user and no password":     {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222", NATSUser: "u", NATSTokenFile: "t"}, false, "--nats-password-file"},
		"a certificate and no key":   {natsflags.Flags{NATSURL: "tls://a", NATSTokenFile: "t", NATSCert: "c"}, false, "need each other"},
		"a password in the address":  {natsflags.Flags{NATSURL: "nats://u:hunter2@127.0.0.1:4222", NATSPasswordFile: "p"}, false, "others can see"},
		"another scheme":             {natsflags.Flags{NATSURL: "http://127.0.0.1", NATSPasswordFile: "p"}, false, "nats://host:port"},
		"an address that is no URL":  {natsflags.Flags{NATSURL: "nats://%zz", NATSPasswordFile: "p"}, false, "nats://host:port"},
		"an empty one among several": {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222,", NATSPasswordFile: "p"}, false, "nats://host:port"},
	} {
		err := c.flags.Check(t.Context(), c.insecure)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want a refusal with %q", name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the refusal shows the password", name)
		}
	}
}

func TestSecretsForAnOutsideServerComeFromFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	options := func(f natsflags.Flags) (all nats.Options, err error) {
		t.Helper()
		list, err := f.Options(natsd.Reader)
		if err != nil {
			return all, err
		}
		for _, o := range list {
			if err := o(&all); err != nil {
				t.Fatal(err)
			}
		}
		return all, nil
	}
	each := filepath.Join(dir, "{role}.secret")

	t.Run("a password for each role, read for each connection", func(t *testing.T) {
		file("reader.secret", "first\n")
		o, err := options(natsflags.Flags{NATSPasswordFile: each})
		if err != nil {
			t.Fatal(err)
		}
		file("reader.secret", "second\n")
		if user, password := o.UserInfo(); user != "signoff.reader" || password != "second" {
			t.Errorf("user %q, password %q", user, password)
		}
	})
	t.Run("one user for all", func(t *testing.T) {
		o, err := options(natsflags.Flags{NATSUser: "crit", NATSPasswordFile: file("password", "one")})
		if err != nil {
			t.Fatal(err)
		}
		if user, password := o.UserInfo(); user != "crit" || password != "one" {
			t.Errorf("user %q, password %q", user, password)
		}
	})
	t.Run("an access token", func(t *testing.T) {
		o, err := options(natsflags.Flags{NATSTokenFile: file("token", "t\n")})
		if err != nil || o.TokenHandler() != "t" {
			t.Errorf("%v", err)
		}
	})
	t.Run("an nkey", func(t *testing.T) {
		key, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		seed, _ := key.Seed()
		public, _ := key.PublicKey()
		o, err := options(natsflags.Flags{NATSNkeyFile: file("user.nk", string(seed)+"\n")})
		if err != nil || o.Nkey != public {
			t.Fatalf("key %s, %v", o.Nkey, err)
		}
		signature, err := o.SignatureCB([]byte("nonce"))
		if err != nil || key.Verify([]byte("nonce"), signature) != nil {
			t.Errorf("signature: %v", err)
		}
	})
	t.Run("credentials", func(t *testing.T) {
		o, err := options(natsflags.Flags{NATSCreds: file("user.creds", "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n")})
		if err != nil {
			t.Fatal(err)
		}
		if token, err := o.UserJWT(); err != nil || token != "a.b.c" {
			t.Errorf("%q, %v", token, err)
		}
	})
	t.Run("an unusable secret is reported at once, without its content", func(t *testing.T) {
		account, err := nkeys.CreateAccount()
		if err != nil {
			t.Fatal(err)
		}
		seed, _ := account.Seed()
		for name, f := range map[string]natsflags.Flags{
			"missing":             {NATSPasswordFile: filepath.Join(dir, "missing")},
			"empty":               {NATSPasswordFile: file("empty", "\n")},
			"no token":            {NATSTokenFile: filepath.Join(dir, "missing")},
			"no credentials":      {NATSCreds: filepath.Join(dir, "missing")},
			"no nkey":             {NATSNkeyFile: file("no.nk", "hunter2")},
			"the key of accounts": {NATSNkeyFile: file("account.nk", string(seed))},
		} {
			_, err := options(f)
			if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), string(seed)) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
