package natsd_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// startOperator runs a server in operator mode on a data directory, with the keys
// that are there.
func startOperator(t *testing.T, dir string) (*natsd.Server, *operator.Keys) {
	t.Helper()
	keys, err := operator.OpenKeys(filepath.Join(dir, "keys", "nats"))
	if err != nil {
		t.Fatal(err)
	}
	return start(t, natsd.Config{Dir: dir, Listen: "127.0.0.1:0", Keys: keys}), keys
}

func streamOf(t *testing.T, nc *nats.Conn) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// fill makes a stream of ten messages with a consumer that has delivered four.
func fill(t *testing.T, writer *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(writer)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: events.Stream, Subjects: []string{events.IngestWildcard},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: events.IngestWildcard, Destination: events.StoredWildcard},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := js.Publish(t.Context(), "in.crit.v1.A.x", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	c, err := js.CreateConsumer(t.Context(), events.Stream, jetstream.ConsumerConfig{Durable: "acme=A", AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := c.Next(); err != nil {
			t.Fatal(err)
		}
	}
}

// wantFilled reports an error if the stream is not the one that fill has made.
func wantFilled(t *testing.T, nc *nats.Conn, created time.Time) {
	t.Helper()
	stream := streamOf(t, nc)
	info := stream.CachedInfo()
	if info.State.Msgs != 10 || !info.Created.Equal(created) {
		t.Errorf("%d messages, created %s", info.State.Msgs, info.Created)
	}
	c, err := stream.Consumer(t.Context(), "acme=A")
	if err != nil {
		t.Fatal(err)
	}
	if last := c.CachedInfo().Delivered.Stream; last != 4 {
		t.Errorf("delivered up to %d", last)
	}
	msg, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if meta, err := msg.Metadata(); err != nil || meta.Sequence.Stream != 5 {
		t.Errorf("the next is %v, %v", meta, err)
	}
}

func TestTheStreamOfTheConfigurationModeIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	before, keys := startOperator(t, dir)
	fill(t, connect(t, before, natsd.Publisher))
	created := streamOf(t, connect(t, before, natsd.Reader)).CachedInfo().Created
	before.Shutdown()
	// Without operator mode the store has the name of the account.
	store := filepath.Join(dir, "jetstream")
	if err := os.Rename(filepath.Join(store, keys.App), filepath.Join(store, "APP")); err != nil {
		t.Fatal(err)
	}

	s, _ := startOperator(t, dir)
	wantFilled(t, connect(t, s, operator.Publisher), created)
	entries, err := os.ReadDir(filepath.Join(dir, "jetstream"))
	if err != nil || len(entries) != 1 || entries[0].Name() != keys.App {
		t.Errorf("the store holds %v, %v", entries, err)
	}
}

func TestTheStreamOutlastsLostKeys(t *testing.T) {
	dir := t.TempDir()
	s, before := startOperator(t, dir)
	fill(t, connect(t, s, operator.Publisher))
	created := streamOf(t, connect(t, s, operator.Reader)).CachedInfo().Created
	s.Shutdown()
	if err := os.RemoveAll(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	s, after := startOperator(t, dir)
	if before.App == after.App {
		t.Fatal("the keys are the same")
	}
	wantFilled(t, connect(t, s, operator.Publisher), created)
	if _, err := os.Stat(filepath.Join(dir, "jwt", before.App+".jwt")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an account of the lost keys is still there: %v", err)
	}
}

func TestTwoStoresOfTheStreamAreRefused(t *testing.T) {
	dir := t.TempDir()
	for _, account := range []string{"APP", "OTHER"} {
		if err := os.MkdirAll(filepath.Join(dir, "jetstream", account, "streams", events.Stream), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := operator.OpenKeys(filepath.Join(dir, "keys", "nats"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = natsd.Start(natsd.Config{Dir: dir, Keys: keys, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, events.Conflict) || !strings.Contains(err.Error(), "OTHER") {
		t.Errorf("got %v, want a conflict that names the stores", err)
	}
}

func TestAccountsOfTheServiceAreWrittenAnewBeforeEachStart(t *testing.T) {
	stranger, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	forge := func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		claims, err := jwt.DecodeAccountClaims(string(text))
		if err != nil {
			return err
		}
		claims.Authorization = jwt.ExternalAuthorization{}
		claims.Exports = nil
		forged, err := claims.Encode(stranger) // issued now
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(forged), 0o600)
	}
	for name, damage := range map[string]func(path string) error{
		"forged": forge, "lost": os.Remove,
		"cut":   func(path string) error { return os.Truncate(path, 100) },
		"empty": func(path string) error { return os.Truncate(path, 0) },
		"the directory is open to others": func(path string) error {
			return os.Chmod(filepath.Dir(path), 0o755)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, keys := startOperator(t, dir)
			s.Shutdown()
			for _, key := range []string{keys.System, keys.Auth, keys.App, keys.Read} {
				if err := damage(filepath.Join(dir, "jwt", key+".jwt")); err != nil {
					t.Fatal(err)
				}
			}
			s, _ = startOperator(t, dir)
			for _, role := range operator.Roles {
				connect(t, s, role)
			}
			for _, key := range []string{keys.System, keys.Auth, keys.App, keys.Read} {
				text, err := os.ReadFile(filepath.Join(dir, "jwt", key+".jwt"))
				if err != nil || len(text) == 0 || !strings.Contains(s.Preload().Text(), string(text)) {
					t.Errorf("account %s is another on disk: %v", key, err)
				}
			}
			if nc, err := nats.Connect(s.ClientURL()); err == nil {
				nc.Close()
				t.Error("a client without credentials got in")
			}
			if info, err := os.Stat(filepath.Join(dir, "jwt")); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the directory of accounts: %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestCredentialsOfRolesEndWithTheServer(t *testing.T) {
	dir := t.TempDir()
	s, _ := startOperator(t, dir)
	file := filepath.Join(t.TempDir(), "operator.creds")
	creds, err := s.Credentials(operator.Operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.ClientURL(), nats.UserCredentials(file), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	s.Shutdown()
	s, _ = startOperator(t, dir)
	if nc, err := nats.Connect(s.ClientURL(), nats.UserCredentials(file), nats.Timeout(time.Minute)); err == nil {
		nc.Close()
		t.Error("credentials of an earlier start are accepted")
	}
}

func TestPushedAccountsOutlastTheServer(t *testing.T) {
	dir := t.TempDir()
	partner := tenancy.AccountOf("acme", []string{"A"}, limits)
	var before string
	for range 2 {
		s, keys := startOperator(t, dir)
		a := s.Accounts()
		if err := a.SetAccount(t.Context(), partner); err != nil {
			t.Fatal(err)
		}
		a.Close()
		s.Shutdown()
		text, err := os.ReadFile(filepath.Join(dir, "jwt", keys.PartnerAccount("acme")+".jwt"))
		if err != nil || len(text) == 0 {
			t.Fatalf("%q, %v", text, err)
		}
		if before != "" && before != string(text) {
			t.Error("what does not differ was pushed again")
		}
		before = string(text)
	}
}
