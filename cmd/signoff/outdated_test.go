package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// newer appends an event of a kind that only a newer program knows to a study
// that has events, as that program would, and waits until it is applied.
func newer(t *testing.T, p *server.Server, kind events.Kind, study string) {
	t.Helper()
	err := p.Outbox.DB().Update(t.Context(), func(tx *sqlx.Tx) error {
		var row int64
		var head events.ChainHead
		var last string
		if err := tx.QueryRow(`select row, sequence, hash, time from studies where token = ?`, study).Scan(&row, &head.Number, &head.Hash, &last); err != nil {
			return err
		}
		at, err := events.ParseTime(last)
		if err != nil {
			return err
		}
		e := events.Event{
			ID: uuid.Must(uuid.NewV7()).String(), Source: events.DefaultNamespace.Source(study), Type: events.DefaultNamespace.Type(kind),
			Subject: "Basic/1", Time: at.Add(time.Microsecond), DataContentType: kind.MediaType(), Study: study, PartitionKey: study, Data: []byte("{}"),
		}
		e.Seal(head)
		_, err = tx.Exec(`
			insert into events (study, sequence, kind, id, subject, time, partitionkey, previoushash, hash, traceparent, data)
			values (?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?)`,
			row, int64(e.Number), string(kind), e.ID, e.Subject, events.FormatTime(e.Time), e.PartitionKey, e.PreviousHash, e.Hash, e.Data)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update studies set sequence = ?, hash = ?, time = ? where row = ?`, int64(e.Number), e.Hash, events.FormatTime(e.Time), row)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Outbox.Wake()
	awaitCaughtUp(t, p)
}

// signInStatus asks for an access token and returns the answer, whatever it is.
func signInStatus(t *testing.T, p *server.Server, id, secret string) (status int, code string) {
	t.Helper()
	form := url.Values{"client_id": {id}, "client_secret": {secret}, "grant_type": {"client_credentials"}, "scope": {"full"}}
	response, err := http.PostForm(p.PublicURL()+token.Path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Error string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer.Error
}

func loginNATS(p *server.Server, id, secret string) error {
	nc, err := nats.Connect(p.NATS.ClientURL(), nats.UserInfo(id, secret), nats.NoReconnect(), nats.Timeout(30*time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err == nil {
		nc.Close()
	}
	return err
}

func TestAProgramOlderThanItsLogAnswersWhatItUnderstands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, stop := startServer(t, dir)
	acme, secret := newPartnerWithSecret(t, p, "acme", "FHIR-T", "OTHER")
	password := addPI(t, dir, "pi", "FHIR-T")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	mustSignoff(t, "sign", "--study", "FHIR-T", "--yes", "--all", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir)
	awaitCaughtUp(t, p)
	const path, other = "/DiagnosticReport?researchstudy=FHIR-T", "/DiagnosticReport?researchstudy=OTHER"
	want := func(path string, status int) {
		t.Helper()
		got, body := acme.get(path)
		if got != status || status == http.StatusServiceUnavailable && !strings.Contains(outcome(t, body), "needs a newer version") {
			t.Errorf("%s: %d %.300s", path, got, body)
		}
	}

	newer(t, p, "readercomment.added.optional.v1", "FHIR-T")
	newer(t, p, "access.contact.optional.v1", events.AccessStudy)
	want(path, http.StatusOK)
	if findings := awaitReady(t, p); findings["outdatedStudies"] != "" {
		t.Errorf("/readyz: %v", findings)
	}

	newer(t, p, "diagnosticreport.retracted.v1", "FHIR-T")
	want(path, http.StatusServiceUnavailable)
	want("/DiagnosticReport/790", http.StatusServiceUnavailable)
	want(other, http.StatusOK)
	if findings := awaitReady(t, p); !strings.Contains(findings["outdatedStudies"], "FHIR-T (org.mskcc.crit.diagnosticreport.retracted.v1)") {
		t.Errorf("/readyz: %v", findings)
	}
	if status, _ := signInStatus(t, p, "acme", secret); status != http.StatusOK {
		t.Errorf("the token endpoint: %d", status)
	}
	eventually(t, "a login to NATS", func() error { return loginNATS(p, "acme", secret) })

	newer(t, p, "access.role.v1", events.AccessStudy)
	nobody := func(t *testing.T, p *server.Server) {
		t.Helper()
		acme.p = p
		want(path, http.StatusServiceUnavailable)
		want(other, http.StatusServiceUnavailable)
		for _, s := range []string{secret, "wrong"} {
			if status, code := signInStatus(t, p, "acme", s); status != http.StatusServiceUnavailable || code != "temporarily_unavailable" {
				t.Errorf("the token endpoint: %d %s", status, code)
			}
		}
		if err := loginNATS(p, "acme", secret); err == nil {
			t.Error("a login to NATS succeeded")
		}
		eventually(t, "the finding", func() error {
			status, findings := readiness(t, p)
			if status != http.StatusServiceUnavailable || !strings.Contains(findings["readModel"], "access.role.v1") || findings["stream"] != "ok" {
				return fmt.Errorf("/readyz: %d %v", status, findings)
			}
			return nil
		})
	}
	nobody(t, p)
	stop()
	t.Run("after a restart too", func(t *testing.T) {
		p, stop := startUnready(t, dir)
		defer stop()
		awaitCaughtUp(t, p)
		eventually(t, "it to open", p.Admission.Closed)
		nobody(t, p)
	})
}

// startUnready is startServer for a server that does not become ready.
func startUnready(t *testing.T, dir string) (started *server.Server, stop func()) {
	t.Helper()
	p, err := server.Open(t.Context(), datadir.Dir(dir), loopback(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, func(datadir.Serving) { t.Error("the program is ready") }) }()
	return p, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	}
}
