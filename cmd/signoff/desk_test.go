package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/source"
)

// deskAnswer is an answer of the desk or the read API.
type deskAnswer struct {
	status int
	header http.Header
	body   string
}

// askDesk sends a request.
func askDesk(t *testing.T, method, url, authorization, body string, header ...string) deskAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return deskAnswer{res.StatusCode, res.Header, string(text)}
}

// A source delivers over HTTP, a PI signs over HTTP, and the partner reads the report.
func TestFromTheSourceToThePartnerOverHTTP(t *testing.T) {
	const study = "SYNTH/1"
	dir := t.TempDir()
	settings := loopback()
	settings.DeskAPISigning = true
	p, stop := startWith(t, dir, settings, slog.New(slog.DiscardHandler))
	partner := newPartner(t, p, "acme", study)
	addPI(t, dir, "rivera", study)
	var edc source.Credentials
	if err := json.Unmarshal([]byte(mustSignoff(t, "source", "add", "edc", "--study", "ELSEWHERE", "--json", "--data", dir).out), &edc); err != nil {
		t.Fatal(err)
	}
	serving, running := p.Dir.Running()
	if !running || serving.Desk != p.DeskListener.Addr().String() || serving.DeskURL != "http://"+serving.Desk || serving.DeskPublicURL != serving.DeskURL {
		t.Fatalf("serve.json has %+v", serving)
	}
	desk := serving.DeskURL + "/desk/v1"
	record := fmt.Sprintf(`{"id":"1","study":%q,"sponsorStudy":"C1","trialName":"x","criteria":"RECIST 1.1","case":{"id":1,"revision":1},"revision":1,
		"name":"Baseline","timepoint":0,"subject":"s-1","effective":"2026-01-02","conclusion":"No"}`, study)
	deliver := func(want int) deskAnswer {
		t.Helper()
		a := askDesk(t, http.MethodPut, desk+"/assessments/1", edc.Authorization, record)
		if a.status != want {
			t.Fatalf("the delivery is answered %d, want %d: %s", a.status, want, a.body)
		}
		return a
	}
	deliver(404)
	mustSignoff(t, "source", "grant", "edc", study, "--data", dir)
	first := deliver(201)

	basic := &http.Request{Header: http.Header{}}
	basic.SetBasicAuth("rivera", testPassword)
	pi := basic.Header.Get("Authorization")
	read := askDesk(t, http.MethodGet, desk+"/assessments/1", pi, "")
	var seen struct{ Stamp, Digest string }
	if err := json.Unmarshal([]byte(read.body), &seen); err != nil || read.header.Get("ETag") != first.header.Get("ETag") {
		t.Fatalf("%v: %+v", err, read)
	}
	signed := askDesk(t, http.MethodPost, desk+"/assessments/1/sign-off", pi,
		fmt.Sprintf(`{"meaning":"I approve this.","stamp":%q,"digest":%q}`, seen.Stamp, seen.Digest), "If-Match", read.header.Get("ETag"),
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if signed.status != http.StatusCreated {
		t.Fatalf("%+v", signed)
	}
	awaitCaughtUp(t, p)
	if _, reports := partner.get("/DiagnosticReport?researchstudy=SYNTH%2F1"); !strings.Contains(string(reports), `"I approve this."`) {
		t.Errorf("the partner reads %s", reports)
	}

	t.Run("each listener serves its own callers only", func(t *testing.T) {
		if a := askDesk(t, http.MethodGet, p.PublicURL()+"/desk/v1/assessments", pi, ""); a.status != http.StatusNotFound {
			t.Errorf("the read API answers %+v", a)
		}
		if a := askDesk(t, http.MethodGet, serving.DeskURL+p.Settings.BasePath+"/DiagnosticReport", "Bearer "+partner.token, ""); a.status != http.StatusNotFound {
			t.Errorf("the desk answers %+v", a)
		}
		if a := askDesk(t, http.MethodGet, desk+"/assessments", "Bearer "+partner.token, ""); a.status != http.StatusUnauthorized {
			t.Errorf("a partner is answered %+v", a)
		}
	})
	t.Run("readiness and metrics have it", func(t *testing.T) {
		if _, ready := operations(t, p, "/readyz"); !strings.Contains(string(ready), `"desk":"ok"`) {
			t.Errorf("/readyz: %s", ready)
		}
		if _, metrics := operations(t, p, "/metrics"); !strings.Contains(string(metrics), `signoff_desk_requests_total{class="2xx",route="/desk/v1/assessments/{id}/sign-off"} 1`) {
			t.Error("the sign-off is not counted")
		}
	})
	t.Run("a source is administered by commands", func(t *testing.T) {
		former := edc.Authorization
		if err := json.Unmarshal([]byte(mustSignoff(t, "source", "rotate", "edc", "--json", "--data", dir).out), &edc); err != nil {
			t.Fatal(err)
		}
		if a := askDesk(t, http.MethodGet, desk+"/assessments", former, ""); a.status != http.StatusUnauthorized {
			t.Errorf("the former secret is answered %+v", a)
		}
		deliver(200)
		mustSignoff(t, "source", "revoke", "edc", study, "--data", dir)
		deliver(404)
		if out := mustSignoff(t, "source", "list", "--data", dir).out; !strings.Contains(out, "edc") || !strings.Contains(out, "ELSEWHERE") {
			t.Errorf("list: %s", out)
		}
		mustSignoff(t, "source", "remove", "edc", "--data", dir)
		deliver(401)
		if out := mustSignoff(t, "source", "list", "--json", "--data", dir).out; !strings.Contains(out, `"removed": true`) && !strings.Contains(out, `"removed":true`) {
			t.Errorf("list: %s", out)
		}
		if r := signoff(t, "source", "add", "edc", "--study", study, "--data", dir); r.status != exitRefused {
			t.Errorf("the id is used again: %+v", r)
		}
	})
	http.DefaultClient.CloseIdleConnections()
	stop()

	settings.DeskListen, settings.DeskAPISigning = "off", false
	off, _ := startWith(t, dir, settings, slog.New(slog.DiscardHandler))
	if s, _ := off.Dir.Running(); s.Desk != "" || s.DeskURL != "" || off.DeskListener != nil {
		t.Errorf("serve.json has %+v", s)
	}
	if _, ready := operations(t, off, "/readyz"); strings.Contains(string(ready), `"desk"`) {
		t.Errorf("/readyz: %s", ready)
	}
}
