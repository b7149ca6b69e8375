package token_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// callers asks an endpoint, from addresses and at times of the test's choice.
type callers struct {
	t        *testing.T
	endpoint *token.Endpoint
	now      time.Time
}

func newCallers(t *testing.T) *callers {
	c := &callers{t: t, now: now}
	c.endpoint = token.New(clients(), newSigner(t), token.Config{Clock: func() time.Time { return c.now }})
	return c
}

// ask returns the status for a client's secret from an address.
func (c *callers) ask(id, secret, address string) *httptest.ResponseRecorder {
	c.t.Helper()
	form := strings.NewReader("grant_type=client_credentials&client_id=" + id + "&client_secret=" + secret)
	r := httptest.NewRequestWithContext(c.t.Context(), http.MethodPost, token.Path, form)
	r.RemoteAddr = address
	r.Header.Set("Content-Type", formType)
	w := httptest.NewRecorder()
	c.endpoint.ServeHTTP(w, r)
	return w
}

const (
	right    = "s3cret%2Bwith%2Fodd%3Dchars"
	office   = "127.0.0.1:1"
	stranger = "192.0.2.1:1"
)

// failAll uses up what an address may fail.
func (c *callers) failAll(address string) (failures int) {
	c.t.Helper()
	for ; c.ask(fmt.Sprint("guess-", failures), "guess", address).Code == http.StatusUnauthorized; failures++ {
		if failures > 1000 {
			c.t.Fatal("an address may try clients without end")
		}
	}
	return failures
}

func TestAnAddressThatTriesManyClientsIsSlowed(t *testing.T) {
	c := newCallers(t)
	failures := c.failAll(stranger)
	if failures < 10 || failures > 50 {
		t.Errorf("%d failures in a row are answered", failures)
	}
	refused := c.ask("another", "guess", stranger)
	wait, err := strconv.Atoi(refused.Header().Get("Retry-After"))
	if refused.Code != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 60 {
		t.Fatalf("then %d, Retry-After %q", refused.Code, refused.Header().Get("Retry-After"))
	}
	if w := c.ask(partnerID, right, office); w.Code != http.StatusOK {
		t.Errorf("another address gets %d", w.Code)
	}
	if w := c.ask(partnerID, right, stranger); w.Code != http.StatusOK {
		t.Errorf("the right secret, by a client never seen there, gets %d", w.Code)
	}
	c.now = c.now.Add(time.Duration(wait) * time.Second)
	if w := c.ask("another", "guess", stranger); w.Code != http.StatusUnauthorized {
		t.Errorf("after the time it was told, it gets %d", w.Code)
	}
	if w := c.ask("another", "guess", stranger); w.Code != http.StatusTooManyRequests {
		t.Errorf("and the next one at once %d", w.Code)
	}
}

func TestAPartnerThatSharesItsAddressWithAStrangerGoesOn(t *testing.T) {
	c := newCallers(t)
	if w := c.ask(partnerID, right, office); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	c.failAll(office)
	if w := c.ask(partnerID, right, office); w.Code != http.StatusOK {
		t.Errorf("the partner gets %d", w.Code)
	}
}

func TestOnlyTheCallersFailuresCount(t *testing.T) {
	for _, id := range []string{"busy", "broken"} {
		c := newCallers(t)
		for range 100 {
			if w := c.ask(id, "x", stranger); w.Code < http.StatusInternalServerError {
				t.Fatalf("%s: %d", id, w.Code)
			}
		}
		if w := c.ask("guess", "x", stranger); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: after faults of ours the first failure gets %d", id, w.Code)
		}
	}
	c := newCallers(t)
	for range 100 {
		if w := c.ask(partnerID, right, stranger); w.Code != http.StatusOK {
			t.Fatalf("a partner that signs in again and again gets %d", w.Code)
		}
	}
	if failures := c.failAll(stranger); failures < 10 {
		t.Errorf("after successes only %d failures are answered", failures)
	}
}

func TestManyAtOnceGetNoFurtherThanOneAfterTheOther(t *testing.T) {
	alone := newCallers(t).failAll(stranger)
	c := newCallers(t)
	var mu sync.Mutex
	var all sync.WaitGroup
	answered := 0
	for range 200 {
		all.Go(func() {
			if c.ask("guess", "guess", stranger).Code == http.StatusUnauthorized {
				mu.Lock()
				defer mu.Unlock()
				answered++
			}
		})
	}
	all.Wait()
	if answered != alone {
		t.Errorf("%d are answered, one after the other %d", answered, alone)
	}
}

func TestWhoFailedMostIsRememberedWhenManyFail(t *testing.T) {
	c := newCallers(t)
	c.failAll(stranger)
	for i := range 25_000 { // more than are remembered
		c.ask("guess", "guess", fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
	}
	if w := c.ask("guess", "guess", stranger); w.Code != http.StatusTooManyRequests {
		t.Errorf("the address that failed most gets %d", w.Code)
	}
}
