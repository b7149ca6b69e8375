package natsd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Configuration describes a NATS server or cluster: accounts, users and their permissions,
// what partners' accounts let through, and by which key answers to logins are signed. The
// embedded server starts with the same.
type Configuration struct {
	// Credentials of the roles.
	Credentials map[Role]Credentials

	// LoginIssuer is the public account key (nkey, "A…") of the callout, which
	// answers the logins of all that have no role. Without one they are refused.
	LoginIssuer string

	// Partners are the accounts of partners.
	Partners []tenancy.Account

	// Previous is a Text from before; digests in it of the same passwords
	// are kept, so that what has not changed reads the same.
	Previous string
}

// Text is the configuration in the form that nats-server reads, the same for
// all servers of a cluster. It holds digests of the passwords only.
func (c Configuration) Text() (string, error) {
	if c.LoginIssuer != "" && !nkeys.IsValidPublicAccountKey(c.LoginIssuer) {
		return "", events.Errorf(events.Invalid, "the issuer of logins is no public account key")
	}
	var w writer
	w.open("accounts")
	for _, account := range []string{AccountSystem, AccountApp} {
		w.open(quote(account))
		if account == AccountApp {
			w.linef("jetstream: enabled")
		}
		if err := c.users(&w, account); err != nil {
			return "", err
		}
		if account == AccountApp {
			c.exports(&w)
		}
		w.end()
	}
	for _, a := range c.Partners {
		partner(&w, a)
	}
	w.end()
	w.linef("system_account: %s", quote(AccountSystem))
	c.callout(&w)
	return w.String(), nil
}

// users are the roles in an account.
func (c Configuration) users(w *writer, account string) error {
	w.list("users")
	for _, role := range roles {
		own, ok := c.Credentials[role]
		if !ok || role.account() != account {
			continue
		}
		digest, err := c.digest(own.Password)
		if err != nil {
			return err
		}
		w.open("")
		w.linef("user: %s", quote(own.User))
		w.linef("password: %s", quote(digest))
		if p := permissions(role); p != nil {
			w.open("permissions")
			w.linef("publish: {allow: %s}", quoteAll(p.Publish.Allow))
			w.linef("subscribe: {allow: %s}", quoteAll(p.Subscribe.Allow))
			w.end()
		}
		w.end()
	}
	w.endList()
	return nil
}

// digest returns what the server keeps of a password. The cheapest is enough:
// they are 256 random bits.
func (c Configuration) digest(password string) (string, error) {
	for _, word := range strings.Split(c.Previous, `"`) {
		if strings.HasPrefix(word, "$2a$") && bcrypt.CompareHashAndPassword([]byte(word), []byte(password)) == nil {
			return word, nil
		}
	}
	digest, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("digest NATS password: %w", err)
	}
	return string(digest), nil
}

// exports are what the service's account offers, each to the partners' accounts
// that may have it.
func (c Configuration) exports(w *writer) {
	var all []string // what is exported, once each
	to := make(map[string][]string)
	offer := func(what, account string) {
		if len(to[what]) == 0 {
			all = append(all, what)
		}
		to[what] = append(to[what], account)
	}
	for _, a := range c.Partners {
		for _, s := range a.Services {
			kind := fmt.Sprintf("response: singleton, threshold: %q", tenancy.AnswerWithin)
			if s.Streamed {
				kind = "response: stream"
			}
			offer(fmt.Sprintf("service: %s, %s", quote(s.Subject), kind), a.Name)
		}
		for _, subject := range a.Streams {
			offer("stream: "+quote(subject), a.Name)
		}
	}
	w.list("exports")
	for _, what := range all {
		w.linef("{%s, accounts: %s}", what, quoteAll(to[what]))
	}
	w.endList()
}

// partner is the account of a partner: no users, because logins are answered,
// and no JetStream.
func partner(w *writer, a tenancy.Account) {
	w.open(quote(a.Name))
	w.linef("limits: {max_connections: %d, max_subscriptions: %d, max_payload: %d, max_leafnodes: 0}",
		a.Limits.Connections, a.Limits.Subscriptions, a.Limits.Payload)
	if m := a.Mapping; m.From != "" {
		w.linef("mappings: {%s: %s}", quote(m.From), quote(m.To))
	}
	w.list("imports")
	for _, s := range a.Services {
		w.linef("{service: {account: %s, subject: %s}, to: %s}", quote(AccountApp), quote(s.Subject), quote(s.Import))
	}
	for _, subject := range a.Streams {
		w.linef("{stream: {account: %s, subject: %s}}", quote(AccountApp), quote(subject))
	}
	w.endList()
	w.end()
}

// callout has the server ask about every login but those of the roles. The
// question goes to a subject of account APP that only the role Partners may subscribe to; an
// answer is valid if the issuer has signed it. Without an answer in time nobody gets in.
func (c Configuration) callout(w *writer) {
	if c.LoginIssuer == "" {
		return
	}
	var own []string
	for _, credentials := range c.Credentials {
		own = append(own, credentials.User)
	}
	slices.Sort(own)
	w.open("authorization")
	w.linef("timeout: %d", tenancy.LoginWait/time.Second)
	w.open("auth_callout")
	w.linef("issuer: %s", quote(c.LoginIssuer))
	w.linef("account: %s", quote(AccountApp))
	w.linef("auth_users: %s", quoteAll(own))
	w.end()
	w.end()
}

// apply makes the configuration that of an embedded server.
func (c Configuration) apply(opts *server.Options) error {
	text, err := c.Text()
	if err != nil {
		return err
	}
	if err := opts.ProcessConfigString(text); err != nil {
		return fmt.Errorf("configure NATS accounts: %w", err)
	}
	return nil
}
