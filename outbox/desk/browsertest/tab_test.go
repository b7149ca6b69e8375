package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// Limits of waiting. They are long because the machine may be slow and busy.
const (
	tabTimeout  = 10 * time.Minute
	stepTimeout = 3 * time.Minute
)

// step is a step in a tab.
type step = chromedp.Action[chromedp.Void]

// tab is a tab of the browser. It records the requests of its pages and what is written on
// the console.
type tab struct {
	t      testing.TB
	ctx    context.Context
	origin string // of the desk

	mu        sync.Mutex
	console   []message
	requests  []string            // URLs
	documents map[string]struct{} // URLs of pages
}

// message is something on the console: a call of it, an exception, or an entry of the browser
// such as a violation of the Content-Security-Policy.
type message struct{ source, text, url string }

// newTab opens a tab with cookies of its own, for the desk at this origin. The steps may
// switch off script.
func newTab(t testing.TB, origin string, before ...step) *tab {
	t.Helper()
	b := &tab{t: t, origin: origin, documents: make(map[string]struct{})}
	b.open(browser(t), chromedp.WithNewBrowserContext())
	b.do(before...)
	return b
}

// another opens a second tab with the same cookies.
func (b *tab) another() *tab {
	b.t.Helper()
	second := &tab{t: b.t, origin: b.origin, documents: make(map[string]struct{})}
	second.open(b.ctx)
	return second
}

func (b *tab) open(parent context.Context, options ...chromedp.ContextOption) {
	b.t.Helper()
	bounded, release := context.WithTimeout(parent, tabTimeout)
	ctx, _ := chromedp.NewContext(bounded, append(options, chromedp.WithListener(b.note))...)
	b.ctx = ctx
	b.t.Cleanup(func() {
		// A tab that chromedp cannot close within 5 s is closed with the browser.
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			b.t.Errorf("close the tab: %v", err)
		}
		release()
	})
	b.do() // opens it
}

// withoutScript switches off script.
var withoutScript = call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})

// call returns a step that sends a command of the DevTools protocol.
func call[P, R any](command cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, params)
		return err
	})
}

// note records an event. It runs in the loop that reads the messages of the tab.
func (b *tab) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		var text []string
		for _, arg := range e.Args {
			text = append(text, string(arg.Value)+arg.Description)
		}
		b.console = append(b.console, message{"console." + string(e.Type), strings.Join(text, " "), ""})
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.console = append(b.console, message{"exception", text, e.ExceptionDetails.URL})
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelWarning || e.Entry.Level == log.EntryLevelError {
			b.console = append(b.console, message{string(e.Entry.Source), e.Entry.Text, e.Entry.URL})
		}
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
		if e.Type == network.ResourceTypeDocument {
			b.documents[e.Request.URL] = struct{}{}
		}
	}
}

// complaints returns what was written on the console, and the requests to other hosts. That a
// page has a status of 400 or more is none.
func (b *tab) complaints() (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.console {
		if _, ok := b.documents[m.url]; ok && m.source == string(log.EntrySourceNetwork) {
			continue
		}
		found = append(found, fmt.Sprintf("on the console: %s: %s %s", m.source, m.text, m.url))
	}
	for _, url := range b.requests {
		if !strings.HasPrefix(url, b.origin+"/") {
			found = append(found, "request to "+url)
		}
	}
	return found
}

// run runs an action and returns its value.
func run[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		b.failed(err)
	}
	return value
}

// do runs steps.
func (b *tab) do(steps ...step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	if chromedp.FromContext(b.ctx).Target == nil {
		ctx = b.ctx // the tab lives as long as the context of its first step
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.failed(err)
	}
}

// failed ends the test with what the page shows.
func (b *tab) failed(cause error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	location, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.documentElement.innerText`))
	b.t.Fatalf("%v\nat %s:\n%s\n%s", cause, location, text, strings.Join(b.complaints(), "\n"))
}

// visit opens a page by its path and returns the status of the answer.
func (b *tab) visit(path string) int {
	b.t.Helper()
	answer := run(b, chromedp.NavigateResponse(b.origin+path))
	return int(answer.Status)
}

// press clicks something that leads to another page, and returns the status of that.
func (b *tab) press(selector string) int {
	b.t.Helper()
	return b.leads(chromedp.Click(chromedp.CSS(selector)))
}

// leads runs steps that lead to another page, and returns the status of that.
func (b *tab) leads(steps ...step) int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	answer, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		b.failed(err)
	}
	if answer == nil {
		b.t.Fatal("the steps led to no page")
	}
	return int(answer.Status)
}

// expect fails the test at once if the status is another one, or the path does not begin
// with this.
func (b *tab) expect(status, want int, path string) {
	b.t.Helper()
	if got := b.path(); status != want || !strings.HasPrefix(got, path) {
		b.failed(fmt.Errorf("status %d at %s, want %d at %s", status, got, want, path))
	}
}

// fill types text into a field of a form, in place of what is there.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	field, _ := json.Marshal(selector)
	b.wait(selector)
	run(b, chromedp.Evaluate[any](fmt.Sprintf(`document.querySelector(%s).focus(); document.querySelector(%[1]s).select(); true`, field)))
	b.do(chromedp.KeyEvent(text))
}

// value returns what a field of a form has.
func (b *tab) value(selector string) string {
	b.t.Helper()
	return run(b, chromedp.Value(chromedp.CSS(selector)))
}

// keys presses keys, one after the other.
func keys(pressed ...string) step {
	var steps []step
	for _, k := range pressed {
		steps = append(steps, chromedp.KeyEvent(k))
	}
	return chromedp.Steps(steps...)
}

// tabTo presses Tab until the element has the focus, and fails the test if that is not
// visible or the element is not reached.
func (b *tab) tabTo(selector string) {
	b.t.Helper()
	const most = 100
	target, _ := json.Marshal(selector)
	for range most {
		b.do(keys(kb.Tab))
		switch run(b, chromedp.Evaluate[string](fmt.Sprintf(`(() => {
			const e = document.activeElement;
			if (!e || !e.matches(%s)) return "other";
			const style = getComputedStyle(e);
			return style.outlineStyle === "none" || style.outlineWidth === "0px" ? "invisible" : "focused";
		})()`, target))) {
		case "focused":
			return
		case "invisible":
			b.t.Fatalf("the focus on %s is not visible", selector)
		}
	}
	b.t.Fatalf("%s was not reached with %d times Tab", selector, most)
}

// wait waits until an element is visible.
func (b *tab) wait(selector string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// eventually waits until an expression of JavaScript is true on the page. Without script a
// page changes only when it is loaded again, which reload does.
func (b *tab) eventually(reload bool, what, expression string) {
	b.t.Helper()
	deadline := time.Now().Add(stepTimeout)
	for {
		ctx, cancel := context.WithDeadline(b.ctx, deadline)
		holds, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression)) // fails while another page is loaded
		if err == nil && !holds && reload {
			err = chromedp.Do(ctx, chromedp.Reload())
		}
		cancel()
		switch {
		case err == nil && holds:
			return
		case time.Now().After(deadline):
			b.failed(fmt.Errorf("not within %s: %s (%w)", stepTimeout, what, err))
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
}

// contains returns an expression that is true while the visible text of an element contains
// a text.
func contains(selector, text string) string {
	s, _ := json.Marshal(selector)
	x, _ := json.Marshal(text)
	return fmt.Sprintf(`(document.querySelector(%s)?.innerText ?? "").includes(%s)`, s, x)
}

// awaitFocus waits until the element with this id has the focus, which a page that is loaded
// gets when it is drawn.
func (b *tab) awaitFocus(id string) {
	b.t.Helper()
	b.eventually(false, "the focus is on "+id, fmt.Sprintf(`document.activeElement?.id === %q`, id))
}

// text returns the visible text of an element.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return run(b, chromedp.Text(chromedp.CSS(selector)))
}

// path returns the path and query of the page.
func (b *tab) path() string {
	b.t.Helper()
	return strings.TrimPrefix(run(b, chromedp.Location()), b.origin)
}

// signIn signs in on the page of the sign-in.
func (b *tab) signIn(user, password string) int {
	b.t.Helper()
	b.fill("#user", user)
	b.fill("#password", password)
	return b.press("main button")
}

// signedIn opens a page as a PI who has just signed in.
func (b *tab) signedIn(user, path string) {
	b.t.Helper()
	b.visit(path)
	if status := b.signIn(user, desktest.Password); status != http.StatusOK {
		b.t.Fatalf("after the sign-in as %s: %d", user, status)
	}
	if got := b.path(); got != path {
		b.t.Fatalf("the sign-in led to %s, want %s", got, path)
	}
}

// view sets the width of the window and the scheme of colours.
func (b *tab) view(width int64, scheme string) {
	b.t.Helper()
	b.do(
		call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}))
}

// screenshot writes a picture of the whole page, if a directory for pictures is named.
func (b *tab) screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("SIGNOFF_SCREENSHOTS")
	if dir == "" {
		return
	}
	desktest.OK(b.t, os.MkdirAll(dir, 0o755))
	desktest.OK(b.t, os.WriteFile(filepath.Join(dir, name+".png"), b.picture(0), 0o644))
}

// picture returns a PNG of the whole page, or of its upper part if height is not 0.
func (b *tab) picture(height float64) []byte {
	b.t.Helper()
	size := run(b, chromedp.Evaluate[[2]float64](`[document.documentElement.clientWidth, document.documentElement.scrollHeight]`))
	if height > 0 {
		size[1] = min(size[1], height)
	}
	return run(b, func(ctx context.Context, target *chromedp.Target) ([]byte, error) {
		result, err := cdp.Call(ctx, target, page.CaptureScreenshot, page.CaptureScreenshotParams{
			CaptureBeyondViewport: new(true), Clip: &page.Viewport{Width: size[0], Height: size[1], Scale: 1},
		})
		return result.Data, err
	})
}

// violations returns which rules of axe-core the page breaks. Before the first call on a
// page, loadAxe is called.
func (b *tab) violations() []string {
	b.t.Helper()
	return run(b, chromedp.Evaluate[[]string](`axe.run(document, {resultTypes: ["violations"]}).then(result =>
		result.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.target.join(" ") + ": " + n.failureSummary)))`,
		chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
}

func (b *tab) loadAxe() {
	b.t.Helper()
	script, err := axe()
	desktest.OK(b.t, err)
	run(b, chromedp.Evaluate[any](script+"; true"))
}

// overflow returns by how many pixels the page is wider than its window.
func (b *tab) overflow() int {
	b.t.Helper()
	return run(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
}

// clean fails the test if anything was written on the console or a request left the host.
func (b *tab) clean() {
	b.t.Helper()
	for _, c := range b.complaints() {
		b.t.Error(c)
	}
}
