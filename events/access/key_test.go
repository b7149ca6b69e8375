package access_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-e88a4ece/signoff/events/access"
)

func TestAPublicKeyRevealsNothingPrivate(t *testing.T) {
	signer, private := newSigner(t)
	var secret struct{ D string }
	if err := json.Unmarshal(private, &secret); err != nil || secret.D == "" {
		t.Fatalf("the private key has no d: %v", err)
	}
	text, err := json.Marshal(signer.Key(now))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), secret.D) || strings.Contains(string(text), `"d":`) {
		t.Errorf("the public key is %s", text)
	}
	if strings.Contains(string(text), "until") {
		t.Errorf("a key without end has one: %s", text)
	}
}

func TestSignersAcceptPrivateES256KeysOnly(t *testing.T) {
	signer, private := newSigner(t)
	public, err := json.Marshal(signer.Key(now).JWK)
	if err != nil {
		t.Fatal(err)
	}
	other, err := json.Marshal(p384(t, "k"))
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := json.Marshal(jose.JSONWebKey{Key: []byte("secret"), KeyID: "k", Algorithm: "HS256"})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"nothing": nil, "no JSON": []byte("{"), "no key": []byte("{}"), "a public key": public, "another curve": other, "a symmetric key": symmetric,
		"another name": []byte(strings.Replace(string(private), `"kid":"`, `"kid":"x`, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := access.NewSigner(text); err == nil {
				t.Error("it was accepted")
			} else if len(text) > 20 && strings.Contains(err.Error(), string(text[:20])) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestTheSameKeyFileMakesTheSameKey(t *testing.T) {
	first, private := newSigner(t)
	second, err := access.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	if first.Key(now).ID() != second.Key(now).ID() {
		t.Error("the key's id changed")
	}
	d := (access.Directory{}).WithKey(first.Key(now))
	if _, err := d.Verify(issue(t, second, now), now); err != nil {
		t.Error(err)
	}
}

func TestNoIDOfANewKeyBeginsWithAHyphen(t *testing.T) {
	for range 500 { // one of 64 would
		if signer, _ := newSigner(t); strings.HasPrefix(signer.Key(now).ID(), "-") {
			t.Fatalf("the id is %s", signer.Key(now).ID())
		}
	}
}
