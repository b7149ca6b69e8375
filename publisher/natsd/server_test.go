package natsd_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

func TestMain(m *testing.M) {
	brokertest.VerifyTestMain(m)
}

// start runs a server until the test ends.
func start(t *testing.T, cfg natsd.Config) *natsd.Server {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := natsd.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, s *natsd.Server, role natsd.Role, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(role, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestStart(t *testing.T) {
	t.Run("listens on a free port and says which", func(t *testing.T) {
		s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
		nc, err := nats.Connect(s.ClientURL(), credentialsOf(t, s, natsd.Reader)...)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	})

	t.Run("without an address it takes connections of the process only", func(t *testing.T) {
		s := start(t, natsd.Config{Dir: t.TempDir()})
		if url := s.ClientURL(); url != "" {
			t.Errorf("client URL %q, want none", url)
		}
		connect(t, s, natsd.Publisher)
	})

	t.Run("an address in use is refused with the address", func(t *testing.T) {
		first := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
		address := strings.TrimPrefix(first.ClientURL(), "nats://")
		_, err := natsd.Start(natsd.Config{Dir: t.TempDir(), Listen: address, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, events.Conflict) || !strings.Contains(err.Error(), address) {
			t.Errorf("got %v, want a conflict that names %s", err, address)
		}
	})

	t.Run("bad settings are refused", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			cfg  natsd.Config
			want events.Code
		}{
			"no directory":         {natsd.Config{}, events.Required},
			"a directory missing":  {natsd.Config{Dir: filepath.Join(t.TempDir(), "missing")}, events.Unavailable},
			"a file as directory":  {natsd.Config{Dir: file}, events.Unavailable},
			"an address no port":   {natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1"}, events.Invalid},
			"a port out of range":  {natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:65536"}, events.Invalid},
			"an address elsewhere": {natsd.Config{Dir: t.TempDir(), Listen: "192.0.2.1:0"}, events.Unavailable},
		} {
			c.cfg.Log = slog.New(slog.DiscardHandler)
			if _, err := natsd.Start(c.cfg); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %s", name, err, c.want)
			}
		}
	})

	t.Run("the files survive a restart, credentials do not", func(t *testing.T) {
		dir := t.TempDir()
		first := start(t, natsd.Config{Dir: dir})
		store(t, connect(t, first, natsd.Publisher), "one")
		old := credentialsOf(t, first, natsd.Publisher)
		first.Shutdown()
		first.Shutdown() // once more is harmless

		second := start(t, natsd.Config{Dir: dir, Listen: "127.0.0.1:0"})
		js, err := jetstream.New(connect(t, second, natsd.Reader))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(t.Context(), events.Stream)
		if err != nil {
			t.Fatal(err)
		}
		if msg, err := stream.GetMsg(t.Context(), 1); err != nil || string(msg.Data) != "one" {
			t.Errorf("message 1: %v, %v", msg, err)
		}
		if nc, err := nats.Connect(second.ClientURL(), old...); err == nil {
			nc.Close()
			t.Error("credentials of an earlier start are accepted")
		}
	})
}

func TestSeedsAreNotLogged(t *testing.T) {
	var out lockedBuffer
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0",
		Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for _, role := range operator.Roles {
		connect(t, s, role).Close()
	}
	s.Shutdown()
	text := out.text()
	if !strings.Contains(text, "JetStream") {
		t.Fatal("nothing was logged at all")
	}
	for _, role := range operator.Roles {
		creds, err := s.Credentials(role)
		if err != nil {
			t.Fatal(err)
		}
		seed := regexp.MustCompile(`\bSU[A-Z0-9]{50,}`).Find(creds)
		if len(seed) == 0 || strings.Contains(text, string(seed)) {
			t.Errorf("the seed of %s, %d letters, is in the log", role, len(seed))
		}
	}
}

func TestConnectionsOverTCPAreLimited(t *testing.T) {
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxConnections: 4})
	credentials := credentialsOf(t, s, natsd.Reader)
	refused := 0
	for range 30 {
		nc, err := nats.Connect(s.ClientURL(), credentials...)
		if err != nil {
			refused++
			continue
		}
		defer nc.Close()
	}
	if refused < 10 || refused > 26 { // some places are for connections within the process
		t.Errorf("%d of 30 connections are refused", refused)
	}
}
