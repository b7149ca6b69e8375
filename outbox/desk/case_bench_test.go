package desk_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// BenchmarkCasePage compares the page of a case with the execution of its template alone, on
// data that are ready. The metric "ratio" is how many times as long the page takes, by the
// shortest of each, which what else runs on the machine changes least. It is to be at most
// 3.
func BenchmarkCasePage(b *testing.B) {
	in, _ := install(b)
	for _, s := range desktest.Samples() {
		in.Register(s.Assessments...)
		for _, a := range s.Assessments[:s.Sign] {
			in.Sign(a.ID)
		}
	}
	for _, partner := range []string{"acme", "globex", "initech"} {
		_, err := in.Outbox.Accounts().AddPartner(b.Context(), "ops", partner, partner, []string{desktest.Study})
		desktest.OK(b, err)
	}
	browser := in.SignedIn(desktest.User)
	for _, s := range desktest.Samples() {
		switch s.Name {
		case "contradiction", "visits-26", "lesions-500":
		default:
			continue
		}
		b.Run(s.Name, func(b *testing.B) {
			execute, err := in.Desk.ExecuteCase(browser.Request(http.MethodGet, pathOf(s.Case)), s.Case)
			desktest.OK(b, err)
			var templates, whole []time.Duration
			for b.Loop() {
				begin := time.Now()
				desktest.OK(b, execute())
				between := time.Now()
				answer := httptest.NewRecorder()
				in.Desk.ServeHTTP(answer, browser.Request(http.MethodGet, pathOf(s.Case)))
				templates, whole = append(templates, between.Sub(begin)), append(whole, time.Since(between))
				if answer.Code != http.StatusOK {
					b.Fatal(answer.Code)
				}
			}
			template, page := slices.Min(templates), slices.Min(whole)
			b.ReportMetric(float64(page)/float64(template), "ratio")
			b.ReportMetric(float64(template.Microseconds()), "µs-template")
			b.ReportMetric(float64(page.Microseconds()), "µs-page")
		})
	}
}
