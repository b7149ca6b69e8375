package access_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

var now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

const secret = "s3cret of acme"

const issuer = "http://127.0.0.1:8080/msk-apim/external/msk-oidc/oauth2"

// newSigner returns a signer with a new key, and the JSON of the key.
func newSigner(t testing.TB) (signer *access.Signer, private []byte) {
	t.Helper()
	private, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = access.NewSigner(private); err != nil {
		t.Fatal(err)
	}
	return signer, private
}

func issue(t testing.TB, s *access.Signer, at time.Time) string {
	t.Helper()
	token, err := s.Issue("01941f29-7c00-7000-8000-000000000001", issuer, "acme", secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// accessEvent returns an event of AccessStudy about subject.
func accessEvent(t testing.TB, k events.Kind, subject string, body any) events.Event {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	ns := events.DefaultNamespace
	e := events.Event{
		ID: "01941f29-7c00-7000-8000-000000000002", Source: ns.Source(events.AccessStudy), Type: ns.Type(k), Subject: subject, Time: now,
		DataContentType: k.MediaType(), Study: events.AccessStudy, PartitionKey: events.AccessStudy, Data: data,
	}
	e.Seal(events.ChainHead{})
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	return e
}
