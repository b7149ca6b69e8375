package natsd_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// lockedBuffer takes the log of a server.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// Whoever keeps on doing what it may not do must not fill the operator's disk.
func TestAClientsFaultsDoNotFloodTheLog(t *testing.T) {
	var log lockedBuffer
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := s.Credentials(natsd.Reader)
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(c.User, c.Password), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const attempts = 2000
	for range attempts {
		if err := nc.Publish("in.crit.v1.S.DiagnosticReport.signed", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil { // all attempts are refused by now
		t.Fatal(err)
	}
	if n := log.count("Publish Violation"); n == 0 || n > attempts/10 {
		t.Errorf("%d attempts gave %d lines", attempts, n)
	}
	if n := log.count("level=ERROR"); n != 0 {
		t.Errorf("%d of them are errors of ours", n)
	}
}
