package desk_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// BenchmarkWaiting compares the page of what waits with the statements that it needs, with
// their contents scanned and decoded, and the check of the cases. The metric page/data is to
// be at most 2. 254 cases of the SDTM set wait, and the page shows 50 of them. Nothing that
// the page shows is remembered, but which cases have contradictions is, by their stamps; a
// desk that has just begun checks all of them.
func BenchmarkWaiting(b *testing.B) {
	in := desktest.Install(b, desk.Config{})
	in.Register(sdtmCases(b, desktest.Study)...)
	reviews := in.Outbox.Reviews()
	check := func(n int) {
		cases, err := reviews.Queue(b.Context(), review.QueueFilter{Studies: []string{desktest.Study}, Limit: n})
		desktest.OK(b, err)
		for _, c := range cases {
			c.Check()
		}
	}
	data := func() {
		_, err := in.Outbox.Accounts().Standing(b.Context(), desktest.User)
		desktest.OK(b, err)
		for range 2 { // for the page, and for the navigation
			_, err = reviews.QueueSize(b.Context(), review.QueueFilter{Studies: []string{desktest.Study}})
			desktest.OK(b, err)
		}
		_, err = reviews.Stamps(b.Context(), []string{desktest.Study})
		desktest.OK(b, err)
		check(51)
	}
	b.Run("of a desk that runs", func(b *testing.B) {
		page := newPage(b, in)
		page()
		compare(b, data, func() func() { return page })
	})
	b.Run("the first of a desk", func(b *testing.B) {
		compare(b, func() {
			data()
			cases, err := reviews.Stamps(b.Context(), []string{desktest.Study})
			desktest.OK(b, err)
			for _, c := range cases[51:] {
				read, err := reviews.Case(b.Context(), c.Study, c.Number)
				desktest.OK(b, err)
				read.Check()
			}
		}, func() func() { return newPage(b, in) })
	})
}

// compare reports how long the page takes that newPage returns, and as a multiple of data.
func compare(b *testing.B, data func(), newPage func() func()) {
	var ofPage, ofData time.Duration
	for b.Loop() {
		page := newPage()
		start := time.Now()
		data()
		between := time.Now()
		page()
		ofData, ofPage = ofData+between.Sub(start), ofPage+time.Since(between)
	}
	b.ReportMetric(float64(ofPage)/float64(ofData), "page/data")
	b.ReportMetric(float64(ofPage.Microseconds())/float64(b.N)/1000, "ms/page")
}

// newPage returns a function that asks another desk over the outbox for the page of what
// waits, without a network.
func newPage(b *testing.B, in *desktest.Installation) func() {
	d, err := desk.New(in.Outbox, desk.Config{})
	desktest.OK(b, err)
	signIn := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/sign-in", formOf("user", desktest.User, "password", desktest.Password))
	signIn.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	d.ServeHTTP(answer, signIn)
	signedIn := answer.Result()
	_ = signedIn.Body.Close()
	return func() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/waiting", nil)
		r.AddCookie(signedIn.Cookies()[0])
		answer := httptest.NewRecorder()
		d.ServeHTTP(answer, r)
		if answer.Code != http.StatusOK {
			b.Fatal(answer.Code)
		}
	}
}

// formOf returns a form with pairs of a name and a value.
func formOf(pairs ...string) *strings.Reader {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return strings.NewReader(form.Encode())
}
