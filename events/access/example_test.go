package access_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// announce returns an event of AccessStudy with a partner or a key as its body.
func announce(kind events.Kind, subject string, body any) events.Event {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	ns := events.DefaultNamespace
	return events.Event{Type: ns.Type(kind), Study: events.AccessStudy, Subject: subject, Data: data}
}

// acme is a partner with one client secret.
func acme(studies ...string) access.Partner {
	return access.Partner{
		ID: "acme", Studies: studies, Enabled: true, Secrets: []access.Secret{{SHA256: access.DigestSecret("s3cret of acme")}},
	}
}

// A reader computes who may see what from the access events of the log.
func ExampleFold() {
	granted, revoked := acme("FHIR-T", "OTHER"), acme("OTHER")
	fold := access.Directory{}.Fold()
	for _, p := range []access.Partner{granted, revoked} {
		if err := fold.Apply(announce(events.AccessPartner, p.EventSubject(), p)); err != nil {
			fmt.Println(err)
			return
		}
	}
	partner, ok := fold.Directory().Partner("acme")
	fmt.Println(ok, partner.Granted("FHIR-T"), partner.Granted("OTHER"))

	// An event that this version does not know may have ended anybody's access.
	if err := fold.Apply(announce("access.suspended.v1", "Partner/acme", nil)); err != nil {
		fmt.Println(err)
	}
	fmt.Println(errors.Is(fold.Directory().Current(), events.Outdated))
	// Output:
	// true false true
	// true
}

// A token endpoint issues access tokens; a program that has the directory verifies
// them.
func ExampleDirectory_Verify() {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	private, err := access.NewKey()
	if err != nil {
		fmt.Println(err)
		return
	}
	signer, err := access.NewSigner(private)
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := signer.Issue("a-unique-id", "https://example.org/token", "acme", "s3cret of acme", now)
	if err != nil {
		fmt.Println(err)
		return
	}

	directory := access.Directory{}.WithKey(signer.Key(now)).WithPartner(acme("FHIR-T"))
	claims, err := directory.Verify(token, now.Add(time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	partner, _ := directory.Partner(claims.Partner)
	fmt.Println(claims.Partner, partner.Honours(claims, now), partner.Granted("FHIR-T"))

	_, err = directory.Verify(token, now.Add(2*time.Hour))
	fmt.Println(errors.Is(err, events.Expired), err)
	_, err = access.Directory{}.Verify(token, now)
	fmt.Println(errors.Is(err, events.Unauthenticated))
	// Output:
	// acme true true
	// true The access token has expired.
	// true
}

// What either directory lacks is not allowed.
func ExampleDirectory_Limit() {
	onLog := access.Directory{}.WithPartner(acme("FHIR-T", "OTHER"))
	recorded := onLog.WithPartner(acme("OTHER", "NEW")) // FHIR-T is revoked, NEW is granted; not on the log yet
	partner, _ := onLog.Limit(recorded).Partner("acme")
	fmt.Println(partner.Studies)
	// Output:
	// [OTHER]
}

// Each wrong secret makes the next wrong one wait longer. The right one does not wait.
func ExampleSignIns() {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	signIns := access.NewSignIns(access.SlowedSignIns)
	partner := access.Partner{ID: "acme", Enabled: true, Secrets: []access.Secret{{SHA256: access.DigestSecret("right")}}}
	attempt := access.Attempt{Client: "acme", Place: access.Place("192.0.2.1:50123")}
	for _, secret := range []string{"w1", "w2", "w3", "w4", "w5", "w6", "right"} {
		if partner.Opens(secret, now) {
			fmt.Println(secret, "opens")
		} else if wait, _ := signIns.Fail(attempt, now); wait > 0 {
			fmt.Println(secret, "is wrong: wait", wait)
		} else {
			fmt.Println(secret, "is wrong")
		}
	}
	// Output:
	// w1 is wrong
	// w2 is wrong
	// w3 is wrong
	// w4 is wrong
	// w5 is wrong
	// w6 is wrong: wait 1s
	// right opens
}
