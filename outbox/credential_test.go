package outbox_test

import (
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

func TestNothingIsSignedWithTheCredentialOfAFormerPassword(t *testing.T) {
	d := newOutbox(t, "dr.a")
	d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1))
	pi := must(d.Accounts().Authenticate(t.Context(), "dr.a", password, "local"))(t)
	sign := func(id, credential string) error {
		_, err := d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Credential: credential, Meaning: meaning, IDs: []string{id}})
		return err
	}
	withdraw := func(id, credential string) error {
		_, err := d.Withdraw(t.Context(), outbox.Withdrawal{User: "dr.a", Credential: credential, ID: id, Meaning: meaning, Reason: "wrong subject"})
		return err
	}
	ok(t, sign("1", pi.Credential))
	ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", password, "tr0mbone-Kafka-38", "local"))
	wantCode(t, sign("2", pi.Credential), events.Unauthenticated)
	wantCode(t, withdraw("1", pi.Credential), events.Unauthenticated)
	wantEvents(t, d, "signed 1/1")
	pi = must(d.Accounts().Authenticate(t.Context(), "dr.a", "tr0mbone-Kafka-38", "local"))(t)
	ok(t, sign("2", pi.Credential))
	ok(t, withdraw("1", pi.Credential))
}
