package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// A partner's program is killed while it reads many studies, and starts again: it gets what
// was in flight then, with fewer requests than the quota allows.
func TestAPartnerOfManyStudiesStaysWithinItsQuota(t *testing.T) {
	t.Parallel()
	const studies, reports = 40, 5
	const each = 2 * reports // they come with their Observations
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	var names []string
	for i := range studies {
		names = append(names, fmt.Sprint("MANY-", i))
	}
	addPI(t, dir, "pi", names...)
	secret, err := p.Outbox.Accounts().AddPartner(t.Context(), "test", "acme", "", names)
	if err != nil {
		t.Fatal(err)
	}
	for i := range studies * reports { // those of one study are far apart
		a := killAssessment(fmt.Sprint("many-", i), i%studies, i/studies)
		a.Study = names[i%studies]
		if _, err := registerAndSign(t.Context(), p.Outbox, a); err != nil {
			t.Fatal(err)
		}
	}
	awaitCaughtUp(t, p)
	for _, study := range names {
		consume(t, p, "acme", secret, study, each, 0)
	}

	ctx, cancel := context.WithCancel(t.Context())
	partner, err := subscriber.Dial(ctx, subscriber.Credentials{
		TokenURL: p.PublicURL() + token.Path, ClientID: "acme", Secret: subscriber.Secret(secret),
	}, p.NATS.ClientURL(), subscriber.PartnerConfig{Outage: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	defer following.Wait()
	defer partner.Close()
	defer cancel()
	followers := make([]follower, studies)
	for i, study := range names {
		following.Go(func() {
			if err := partner.Follow(ctx, study, &followers[i]); err != nil {
				t.Errorf("%s: %v", study, err)
			}
		})
	}
	eventually(t, "all events", func() error {
		var errs []error
		for i := range followers {
			errs = append(errs, followers[i].has(each))
		}
		return errors.Join(errs...)
	})
	if _, metrics := operations(t, p, "/metrics"); !bytes.Contains(metrics, []byte("signoff_partners_suspensions_total 0\n")) {
		t.Error("the partner was suspended")
	}
}
