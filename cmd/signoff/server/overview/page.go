package overview

import (
	_ "embed"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

var (
	//go:embed assets/overview.html
	pageText string
	//go:embed assets/overview.css
	styleText string
	//go:embed assets/overview.js
	scriptText string
)

// The assets that the page loads.
var (
	style  = page.NewAsset("overview", "css", "text/css; charset=utf-8", page.BaseStyle+styleText)
	script = page.NewAsset("overview", "js", "text/javascript; charset=utf-8", scriptText)
)

// WriteHTML writes the page with these facts.
func (f Facts) WriteHTML(w io.Writer) error { return pageTemplate.Execute(w, f) }

var pageTemplate = template.Must(template.New("overview").Option("missingkey=error").Funcs(template.FuncMap{
	"style":   func() string { return style.Path },
	"script":  func() string { return script.Path },
	"icon":    func() string { return page.Icon.Path },
	"number":  number,
	"visible": page.Visible,
	"kind":    kindText,
	"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"instant": instant,
	"micros":  func(t time.Time) string { return t.UTC().Format(".000000") },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"since":   func(now, t time.Time) string { return span(now.Sub(t)) },
	"moment":  moment,
	"connections": func(n *int) string {
		switch {
		case n == nil:
			return "not known"
		case *n == 0:
			return "none"
		default:
			return count(*n, "connection")
		}
	},
}).Parse(pageText))

// number returns n with a comma between each three digits.
func number(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// count returns a number with its noun, in the plural if need be.
func count(n int, noun string) string { return countOf(uint64(max(n, 0)), noun) }

func countOf(n uint64, noun string) string {
	switch {
	case n == 1:
	case noun == "study":
		noun = "studies"
	default:
		noun += "s"
	}
	return number(n) + " " + noun
}

// span returns a duration in its one or two largest units.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(max(d, 0)/time.Second)) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < day:
		hours, minutes := d/time.Hour, d%time.Hour/time.Minute
		if minutes == 0 {
			return strconv.Itoa(int(hours)) + " h"
		}
		return strconv.Itoa(int(hours)) + " h " + strconv.Itoa(int(minutes)) + " min"
	default:
		return count(int(d/day), "day")
	}
}

// moment returns a time: of today only the time of day, of the last days the day of the
// week too, and else the date.
func moment(now, t time.Time) string {
	now, t = now.UTC(), t.UTC()
	switch {
	case now.Format(time.DateOnly) == t.Format(time.DateOnly):
		return t.Format("15:04")
	case now.Sub(t) < 6*24*time.Hour && t.Before(now):
		return t.Format("Mon 15:04")
	default:
		return t.Format("2006-01-02 15:04")
	}
}

// instant returns a time to the second, with its date unless it is of today.
func instant(now, t time.Time) string {
	now, t = now.UTC(), t.UTC()
	if now.Format(time.DateOnly) == t.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// kindText returns what an event is.
func kindText(k events.Kind) string {
	switch k {
	case events.ReportSigned:
		return "report signed"
	case events.ReportAmended:
		return "report amended"
	case events.ReportSuperseded:
		return "report superseded"
	case events.ReportWithdrawn:
		return "report withdrawn"
	case events.ObservationsSigned:
		return "observations signed"
	case events.AccessPartner:
		return "partner’s access recorded"
	case events.AccessKey:
		return "access token key recorded"
	case events.AccessAudited:
		return "audit trail recorded"
	case events.AccessGranted:
		return "grant announced"
	case events.AccessRevoked:
		return "revocation announced"
	}
	return string(k)
}
