package page

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
)

// functions are what templates may call.
var functions = template.FuncMap{
	"style":   func() string { return style.Path },
	"script":  func() string { return script.Path },
	"forget":  func() string { return ForgetPath },
	"icon":    func() string { return Icon.Path },
	"visible": Visible,
	"utc":     UTC,
	"date":    func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	"clock":   func(t time.Time) string { return t.UTC().Format("15:04") + " UTC" },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"precise": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") + " UTC" },
	"count":   Count,
	"span":    Span,
	"digest":  Digest,
	"minus":   func(text string) string { return strings.ReplaceAll(text, "-", "−") },
	"lower":   strings.ToLower,
	"short":   recist.Response.Short,
	"add":     func(a, b int) int { return a + b },
}

// UTC returns a time to the minute, such as "2026-02-14 10:06 UTC".
func UTC(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// Count returns a number with its noun, in the plural if need be.
func Count(n int, noun string) string {
	switch {
	case n == 1:
	case noun == "study":
		noun = "studies"
	default:
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// Span returns a duration in its largest unit, such as "26 hours" or "7 days".
func Span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return Count(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return Count(int(d/time.Hour), "hour")
	default:
		return Count(int(d/(24*time.Hour)), "day")
	}
}

// Digest returns the beginning of a hexadecimal digest in groups of four.
func Digest(hex string) string {
	const shown = 16
	if len(hex) <= shown {
		return hex
	}
	var groups []string
	for i := 0; i < shown; i += 4 {
		groups = append(groups, hex[i:i+4])
	}
	return strings.Join(groups, " ") + " …"
}

// Visible returns a text with its invisible and direction-changing characters written as
// their code points, so that it is what it looks like.
func Visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == ' ' || !unicode.Is(unicode.Zs, r) && !chart.Invisible(r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "U+%04X", r)
	}
	return b.String()
}
