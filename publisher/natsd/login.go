package natsd

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
)

// callout has the server ask about every login but those of the roles. The
// question goes to a subject of account APP that only Doors may hear; an answer
// counts if the issuer has signed it. Without an answer in time nobody gets in.
func callout(issuer string, credentials map[Role]Credentials) (*server.AuthCallout, error) {
	if issuer == "" {
		return nil, nil
	}
	if !nkeys.IsValidPublicAccountKey(issuer) {
		return nil, events.Errorf(events.Invalid, "the issuer of logins is no public account key")
	}
	c := &server.AuthCallout{Issuer: issuer, Account: AccountApp}
	for _, own := range credentials {
		c.AuthUsers = append(c.AuthUsers, own.User)
	}
	return c, nil
}
