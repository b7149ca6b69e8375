package server

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/internal/testcert"
)

func TestACertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	first, second, third := testcert.NewPair(t), testcert.NewPair(t), testcert.NewPair(t)
	files := testcert.NewFiles(t)
	files.Write(t, first)
	var log bytes.Buffer
	c, err := loadCertificate(files.Cert, files.Key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c.clock = func() time.Time { return now }
	renewed := 0
	c.renewed = func() { renewed++ }
	shows := func(when string, want testcert.Pair) {
		t.Helper()
		now = now.Add(checkEvery)
		if !c.get().Leaf.Equal(want.Leaf) {
			t.Errorf("%s: another certificate is shown", when)
		}
	}
	shows("at first", first)
	files.Write(t, second)
	if !c.get().Leaf.Equal(first.Leaf) {
		t.Error("the files are checked more than once a second")
	}
	shows("a second later", second)

	files.WriteCert(t, third.Cert)
	for range 3 {
		shows("with half of the new pair there", second)
	}
	files.WriteKey(t, third.Key)
	shows("with all of it there", third)

	files.WriteCert(t, []byte("no certificate"))
	shows("with a broken one", third)
	if err := os.Remove(files.Cert); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		shows("with none", third)
	}
	files.Write(t, first)
	shows("with a good one again", first)
	if said := strings.Count(log.String(), "cannot be used"); said != 3 {
		t.Errorf("of three errors the log has %d:\n%s", said, log.String())
	}
	if renewed != 3 {
		t.Errorf("%d certificates were taken up, want 3", renewed)
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the log holds the key")
	}
}

// A file that cannot be read may be the same file, with the same size and time, when it can:
// when its owner or mode was corrected, or the process can open more files again.
func TestACertificateThatCouldNotBeReadIsReadAgain(t *testing.T) {
	first, second := testcert.NewPair(t), testcert.NewPair(t)
	files := testcert.NewFiles(t)
	files.Write(t, first)
	var log bytes.Buffer
	c, err := loadCertificate(files.Cert, files.Key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c.clock = func() time.Time { return now }
	files.WriteCert(t, second.Cert)
	files.WriteKey(t, bytes.Repeat([]byte{'-'}, len(second.Key)))
	written, err := os.Stat(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		now = now.Add(checkEvery)
		if !c.get().Leaf.Equal(first.Leaf) {
			t.Error("another certificate is shown while the key cannot be read")
		}
	}
	if err := os.WriteFile(files.Key, second.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(files.Key, written.ModTime(), written.ModTime()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkEvery)
	if !c.get().Leaf.Equal(second.Leaf) {
		t.Error("the key is not read again")
	}
	if said := strings.Count(log.String(), "cannot be used"); said != 1 {
		t.Errorf("the log has the error %d times:\n%s", said, log.String())
	}
}

func TestAnExpiredCertificateIsLogged(t *testing.T) {
	files := testcert.NewFiles(t)
	var log bytes.Buffer
	c, err := loadCertificate(files.Cert, files.Key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Fatalf("the log is %s", log.String())
	}
	files.Write(t, testcert.NewPair(t))
	c.clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
	c.get()
	if !strings.Contains(log.String(), "expired") {
		t.Errorf("the log is %s", log.String())
	}
}
