package browsertest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// What is signed and withdrawn has on paper the name, the time and the meaning of each
// signature, and the reason of the withdrawal.
func TestSignaturesArePrintedWhole(t *testing.T) {
	t.Parallel()
	const meaning = "I withdraw this assessment."
	in := desktest.Install(t, desk.Config{Clock: desktest.NewClock().Now})
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	event := in.Sign("400", "401")[0].Event
	_, err := in.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: desktest.User, ID: "401", Meaning: meaning, Reason: withdrawn})
	desktest.OK(t, err)
	b := newTab(t, in.Server.URL)
	b.signedIn(desktest.User, "/waiting")
	for _, p := range []struct{ name, path string }{
		{"case", casePath(4)}, {"receipt", casePath(4) + "?signed=" + event}, {"assessment", "/assessments/401"},
	} {
		t.Run(p.name, func(t *testing.T) {
			if status := b.visit(p.path); status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
			b.onPaper()
			text := b.text("main")
			for _, want := range []string{"10081007", desktest.Name, desktest.Meaning, "2026-02-14 10:06:31", "UTC", "Withdrawn", meaning, withdrawn} {
				if !strings.Contains(text, want) {
					t.Errorf("the printed page lacks %q:\n%s", want, text)
				}
			}
			if buttons := run(b, chromedp.Evaluate[int](`[...document.querySelectorAll("form, button")].filter(e => e.checkVisibility()).length`)); buttons > 0 {
				t.Errorf("%d forms and buttons are printed", buttons)
			}
			if n := b.overflow(); n > 0 {
				t.Errorf("a sheet of A4 is too narrow by %d pixels", n)
			}
			b.screenshot("print-" + p.name)
		})
	}
	b.clean()
}

// onPaper shows the page as it is printed, as wide as a sheet of A4 without its margins.
func (b *tab) onPaper() {
	b.t.Helper()
	b.do(
		call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 718, Height: 1046, DeviceScaleFactor: 1}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
}
