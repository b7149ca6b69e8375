package api_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

func TestAnswersAtTheSameTimeDoNotMix(t *testing.T) {
	s := serve(t, unhurried, "S1", "S2")
	s.reader.page = reports(400)
	var paths []string
	for _, study := range []string{"S1", "S2"} {
		for page := range 8 {
			paths = append(paths, fmt.Sprintf("/DiagnosticReport?researchstudy=%s&_count=%d&page=%d", study, 40+page, page+1))
		}
	}
	want := make([]answer, len(paths))
	for i, path := range paths {
		want[i] = s.get(t, path)
	}
	var group sync.WaitGroup
	for i, path := range paths {
		group.Go(func() {
			for range 20 {
				if got := s.get(t, path); !bytes.Equal(got.body, want[i].body) {
					t.Errorf("%s: %s", path, cmp.Diff(string(want[i].body), string(got.body)))
					return
				}
			}
		})
	}
	group.Wait()
}

func TestLogsHaveNothingOfTheQueryOrTheCredentials(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	var log bytes.Buffer
	handler := rest.Wrap(s.api, slog.New(slog.NewTextHandler(&log, nil)))
	for _, query := range []string{
		"researchstudy=S1&subject=secret", "researchstudy=S1&date=secret", "researchstudy=S1&secret=%zz", "researchstudy=secret", "researchstudy=S1&x-partnerid=secret",
		"researchstudy=S1&_format=secret", "researchstudy=S1&_sort=secret", "researchstudy=S1&date=2014-02-30T10:00:00secret", "researchstudy=S1&_id:secret=1",
	} {
		r := httptest.NewRequest(http.MethodGet, api.DefaultBasePath+"/DiagnosticReport?"+query, nil)
		r.Header.Set("Authorization", "Bearer "+s.accessToken)
		r.Header.Set("X-Partnerid", partnerID)
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	text := log.String()
	if strings.Contains(text, "secret") || strings.Contains(text, s.accessToken) {
		t.Errorf("the log has a part of the query or a credential:\n%s", text)
	}
	if strings.Count(text, "partner="+partnerID) < 5 || strings.Count(text, "\n") != 9 {
		t.Errorf("not one line with the partner for each request:\n%s", text)
	}
}
