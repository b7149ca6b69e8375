package natsflags_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

func TestFlagsForAnOutsideServerAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		flags    natsflags.Flags
		insecure bool
		want     string // in the refusal; empty: accepted
	}{
		"none":                       {natsflags.Flags{}, false, ""},
		"credentials":                {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222", NATSCreds: "{role}.creds"}, false, ""},
		"several servers":            {natsflags.Flags{NATSURL: "tls://a:4222,tls://b:4222", NATSCreds: "{role}/creds"}, false, ""},
		"certificates":               {natsflags.Flags{NATSURL: "nats://192.0.2.1", NATSCreds: "{role}", NATSCA: "ca", NATSCert: "c", NATSKey: "k"}, false, ""},
		"plain text if allowed":      {natsflags.Flags{NATSURL: "nats://192.0.2.1:4222", NATSCreds: "{role}"}, true, ""},
		"plain text to others":       {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222,nats://192.0.2.1:4222", NATSCreds: "{role}"}, false, "plain text"},
		"no address":                 {natsflags.Flags{NATSCreds: "{role}"}, false, "--nats-url"},
		"no credentials":             {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222"}, false, "--nats-creds"},
		"the same for all roles":     {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222", NATSCreds: "reader.creds"}, false, "{role}"},
		"a certificate and no key":   {natsflags.Flags{NATSURL: "tls://a", NATSCreds: "{role}", NATSCert: "c"}, false, "need each other"},
		"a password in the address":  {natsflags.Flags{NATSURL: "nats://u:hunter2@127.0.0.1:4222", NATSCreds: "{role}"}, false, "others can see"},
		"another scheme":             {natsflags.Flags{NATSURL: "http://127.0.0.1", NATSCreds: "{role}"}, false, "nats://host:port"},
		"an address that is no URL":  {natsflags.Flags{NATSURL: "nats://%zz", NATSCreds: "{role}"}, false, "nats://host:port"},
		"an empty one among several": {natsflags.Flags{NATSURL: "nats://127.0.0.1:4222,", NATSCreds: "{role}"}, false, "nats://host:port"},
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

func TestCredentialsForAnOutsideServerComeFromFiles(t *testing.T) {
	keys, err := operator.OpenKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	credentials := func() (creds []byte, public string) {
		t.Helper()
		roles, err := operator.NewRoleKeys()
		if err != nil {
			t.Fatal(err)
		}
		if creds, err = keys.Credentials(roles, operator.Reader); err != nil {
			t.Fatal(err)
		}
		pair, err := jwt.ParseDecoratedUserNKey(creds)
		if err != nil {
			t.Fatal(err)
		}
		public, _ = pair.PublicKey()
		return creds, public
	}
	dir := t.TempDir()
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	options := func(role operator.Role) (all nats.Options, err error) {
		t.Helper()
		list, err := natsflags.Flags{NATSCreds: filepath.Join(dir, "{role}.creds")}.Options(role)
		for _, o := range list {
			if err := o(&all); err != nil {
				t.Fatal(err)
			}
		}
		return all, err
	}

	t.Run("each role's own, read for each connection", func(t *testing.T) {
		creds, _ := credentials()
		write("reader.creds", creds)
		o, err := options(operator.Reader)
		if err != nil {
			t.Fatal(err)
		}
		another, public := credentials()
		write("reader.creds", another)
		text, err := o.UserJWT()
		if err != nil {
			t.Fatal(err)
		}
		claims, err := jwt.DecodeUserClaims(text)
		if err != nil || claims.Subject != public {
			t.Errorf("user %v, want %s; %v", claims, public, err)
		}
		signature, err := o.SignatureCB([]byte("nonce"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := nkeys.FromPublicKey(public)
		if err != nil || key.Verify([]byte("nonce"), signature) != nil {
			t.Errorf("the signature is not by %s, %v", public, err)
		}
	})
	t.Run("unusable ones are reported at once, without their content", func(t *testing.T) {
		creds, _ := credentials()
		seed, _, _ := strings.Cut(string(creds[strings.Index(string(creds), "\nSU")+1:]), "\n")
		if len(seed) != 58 {
			t.Fatalf("a seed of %d bytes", len(seed))
		}
		for name, content := range map[string]string{
			"missing": "", "empty": "\n", "a password": "hunter2\n", "only the seed": seed, "cut": string(creds[:len(creds)/2]),
		} {
			if name == "missing" {
				_ = os.Remove(filepath.Join(dir, "keeper.creds")) // it may not be there
			} else {
				write("keeper.creds", []byte(content))
			}
			_, err := options(operator.Keeper)
			if err == nil || !strings.Contains(err.Error(), "keeper.creds") || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), seed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
