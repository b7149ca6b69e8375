package token_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// A partner exchanges its client credentials for an access token. Whoever has
// the public key verifies the token without asking the endpoint.
func Example() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	o, err := outbox.Open(ctx, filepath.Join(folder, "outbox.db"), outbox.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()
	secret, err := o.Accounts().AddPartner(ctx, "operator", "acme", "Acme Pharma", []string{"FHIR-T"})
	if err != nil {
		log.Fatal(err)
	}
	privateKey, err := access.NewKey()
	if err != nil {
		log.Fatal(err)
	}
	signer, err := access.NewSigner(privateKey)
	if err != nil {
		log.Fatal(err)
	}
	endpoint := token.New(o.Accounts(), signer, token.Config{})
	server := httptest.NewServer(rest.Wrap(endpoint, slog.New(slog.DiscardHandler)))
	defer server.Close()

	// The partner.
	response, err := server.Client().PostForm(server.URL+token.Path, url.Values{
		"grant_type": {"client_credentials"}, "scope": {"full"}, "client_id": {"acme"}, "client_secret": {secret},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		TokenType   string `json:"token_type"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		log.Fatal(err)
	}

	// The read side, which knows the key from the stream.
	now := time.Now()
	directory := access.Directory{}.WithKey(signer.Key(now.Add(-time.Minute)))
	claims, err := directory.Verify(answer.AccessToken, now)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.StatusCode, answer.TokenType, "for", answer.ExpiresIn, "seconds, partner", claims.Partner)
	// Output:
	// 200 Bearer for 3600 seconds, partner acme
}
