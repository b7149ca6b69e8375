// Package browsertest has the tests of the desk that need a browser: Debian's Chromium, driven
// by chromedp, with axe-core for accessibility. They are a package of their own because
// chromedp takes long to compile.
//
// Tests skip without Chromium or axe-core; with SIGNOFF_REQUIRE_BROWSER they fail instead.
// `npm ci` in testdata/axe installs axe-core. With SIGNOFF_SCREENSHOTS=DIR a picture of each
// state of each page is written into that directory.
package browsertest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(withChromium{m}) }

// withChromium is a test run after which the browser is stopped.
type withChromium struct{ *testing.M }

func (m withChromium) Run() int {
	status := m.M.Run()
	stopChromium()
	return status
}

const (
	// browserTimeout bounds the life of the browser, and stopTimeout its orderly end.
	browserTimeout = 25 * time.Minute
	stopTimeout    = 30 * time.Second
)

// chromium returns the context of the browser of all tests. The first call starts it, and
// TestMain stops it. Each test has tabs of its own in it, with cookies of their own.
var (
	chromium     = sync.OnceValues(startChromium)
	stopChromium = func() {}
)

// errMissing is the error if a program that the tests need is not installed.
type errMissing string

func (e errMissing) Error() string { return string(e) }

// startChromium starts the browser. It accepts the certificate of every httptest.Server, which
// all have the same, and finds no host but loopback.
func startChromium() (context.Context, error) {
	path, err := findChromium()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(axeFile); err != nil {
		return nil, errMissing("there is no axe-core; run npm ci in outbox/desk/browsertest/testdata/axe")
	}
	server := httptest.NewTLSServer(nil)
	key := sha256.Sum256(server.Certificate().RawSubjectPublicKeyInfo)
	server.Close()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-extensions", true), chromedp.Flag("disable-dev-shm-usage", true),
		// A tab behind others gets no animation frames and its timers are slow.
		chromedp.Flag("disable-background-timer-throttling", true), chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	}
	bounded, release := context.WithTimeout(context.Background(), browserTimeout)
	allocator, _ := chromedp.NewExecAllocator(bounded, options...) // adds --user-data-dir, and --no-sandbox as root
	ctx, _ := chromedp.NewContext(allocator)
	stopChromium = func() {
		stopping, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		if err := chromedp.Cancel(stopping); err != nil {
			fmt.Fprintln(os.Stderr, "stop the browser:", err)
		}
		release()
	}
	return ctx, chromedp.Do(ctx)
}

func findChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errMissing("there is no Chromium; install the package chromium")
}

// browser returns the context of the browser. It skips the test if the browser or axe-core is
// not installed, or fails it if they are required.
func browser(t testing.TB) context.Context {
	t.Helper()
	ctx, err := chromium()
	var missing errMissing
	switch {
	case errors.As(err, &missing) && os.Getenv("SIGNOFF_REQUIRE_BROWSER") == "":
		t.Skip(err)
	case err != nil:
		t.Fatalf("start the browser: %v", err)
	}
	return ctx
}

var axeFile = filepath.Join("testdata", "axe", "node_modules", "axe-core", "axe.min.js")

// axe returns the script of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile(axeFile)
	return string(text), err
})
