package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events/access"
)

// The token endpoint does not accept credentials of other roles.
func TestOtherCredentialsGetNoToken(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t)
	for i, c := range []struct{ what, id, secret string }{
		{"a PI", "pi", testPassword},
		{"the operator of NATS", "signoff.operator", s.secret("the operator's seed", s.natsUser("SU"))},
		{"a token as the secret", "acme", s.attacker.token},
		{"a secret's digest", "acme", access.DigestSecret("x")},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := s.askToken(t, fmt.Sprint("127.0.1.", i+1), c.id, c.secret)
			if got.status != http.StatusUnauthorized || strings.Contains(got.body, "access_token") {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	s.honest()
}

// Failed attempts at the token endpoint slow further ones from their address, and never
// the right secret, wherever it comes from.
func TestGuessingSecretsIsSlowedWhereItHappens(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t)
	const stranger, partner = "127.0.0.3", "127.0.0.2"
	secret := s.secret("a new secret", mustRotate(t, s, "acme"))
	for i := range 5 {
		if got := s.askToken(t, stranger, "acme", s.secret("a guess", fmt.Sprint("guessed-secret-", i))); got.status != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d %s", i+1, got.status, got.body)
		}
	}
	got := s.askToken(t, stranger, "acme", "guessed-secret-5")
	if wait, err := strconv.Atoi(got.header.Get("Retry-After")); got.status != http.StatusTooManyRequests || err != nil || wait < 60 || wait > 900 {
		t.Errorf("after five guesses: %d, Retry-After %q", got.status, got.header.Get("Retry-After"))
	}
	t.Run("the right secret is not, at the same address", func(t *testing.T) {
		if got := s.askToken(t, stranger, "acme", secret); got.status != http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := s.askToken(t, stranger, "acme", "guessed-secret-5"); got.status != http.StatusTooManyRequests {
			t.Errorf("the next guess: %d", got.status)
		}
	})
	t.Run("headers that claim another address are not believed", func(t *testing.T) {
		for _, h := range []header{
			{"X-Forwarded-For", partner}, {"Forwarded", "for=" + partner}, {"X-Real-IP", partner}, {"True-Client-IP", partner}, {"CF-Connecting-IP", partner}, {"X-Client-IP", partner},
		} {
			if got := s.askToken(t, stranger, "acme", "guessed-secret-5", h); got.status != http.StatusTooManyRequests {
				t.Errorf("%s: %d", h.name, got.status)
			}
		}
	})
	t.Run("the partner goes on from its own address", func(t *testing.T) {
		for range 3 {
			if got := s.askToken(t, partner, "acme", secret); got.status != http.StatusOK {
				t.Errorf("%d %s", got.status, got.body)
			}
		}
	})
	t.Run("who tries many clients is slowed for all of them", func(t *testing.T) {
		statuses := make(map[int]int)
		for i := range 60 {
			statuses[s.askToken(t, stranger, fmt.Sprint("client-", i), "guessed-secret-6").status]++
		}
		if statuses[http.StatusUnauthorized] > 30 || statuses[http.StatusUnauthorized]+statuses[http.StatusTooManyRequests] != 60 {
			t.Errorf("of 60 attempts: %v", statuses)
		}
		if got := s.askToken(t, partner, "rival", "guessed-secret-7"); got.status != http.StatusUnauthorized {
			t.Errorf("a first mistake elsewhere: %d", got.status)
		}
	})
	s.attacker.token = tokenOf(t, s.askToken(t, partner, "acme", secret))
	s.honest()
}

func mustRotate(t *testing.T, s *attackedServer, id string) string {
	t.Helper()
	secret, err := s.p.Outbox.Accounts().RotatePartner(t.Context(), "test", id, 0)
	if err != nil {
		t.Fatal(err)
	}
	awaitCaughtUp(t, s.p)
	return secret
}

func tokenOf(t *testing.T, r response) string {
	t.Helper()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return answer.Token
}

// The token endpoint does not reveal which partners exist.
func TestAnUnknownClientLooksLikeAWrongSecret(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t)
	if err := s.p.Outbox.Accounts().RemovePartner(t.Context(), "test", s.partner("gone").id); err != nil {
		t.Fatal(err)
	}
	ids := []string{"acme", "nobody", "gone"}
	for round := range 12 { // each from an address of its own, so that none is slowed
		from := fmt.Sprint("127.0.2.", round+1)
		var first response
		for i, id := range ids {
			got := s.askToken(t, from, id, "guessed-secret")
			got.header.Del("Date")
			got.header.Del("X-Request-Id")
			if i == 0 {
				first = got
			}
			if got.status != http.StatusUnauthorized || got.body != first.body || fmt.Sprint(got.header) != fmt.Sprint(first.header) {
				t.Errorf("%s: %d %s %v\n%s: %d %s %v", ids[0], first.status, first.body, first.header, id, got.status, got.body, got.header)
			}
		}
	}
	for _, id := range ids { // and they are locked alike
		for range 5 {
			s.askToken(t, "127.0.3.1", id, "guessed-secret")
		}
		if got := s.askToken(t, "127.0.3.1", id, "guessed-secret"); got.status != http.StatusTooManyRequests {
			t.Errorf("%s: after five guesses %d", id, got.status)
		}
	}
}
