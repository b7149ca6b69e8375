package access_test

import (
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events/access"
)

func TestSecretsOpenUntilTheyExpire(t *testing.T) {
	soon := now.Add(time.Minute)
	p := access.Partner{ID: "acme", Enabled: true, Secrets: []access.Secret{
		{SHA256: access.DigestSecret("old"), Expires: &soon}, {SHA256: access.DigestSecret("new")},
	}}
	for name, c := range map[string]struct {
		secret string
		at     time.Time
		want   bool
	}{
		"the new one":                        {"new", now, true},
		"the old one within its grace":       {"old", soon.Add(-1), true},
		"the old one at the end":             {"old", soon, false},
		"the new one later":                  {"new", soon.Add(time.Hour), true},
		"another":                            {"other", now, false},
		"none":                               {"", now, false},
		"the digest itself is not a secret":  {access.DigestSecret("new"), now, false},
		"a secret is compared byte for byte": {"NEW", now, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := p.Opens(c.secret, c.at); got != c.want {
				t.Errorf("Opens is %t", got)
			}
		})
	}
	p.Enabled = false
	if p.Opens("new", now) {
		t.Error("a removed partner's secret opens")
	}
	if (access.Partner{Enabled: true}).Opens("", now) {
		t.Error("a partner without secrets opens")
	}
}

func TestTokensEndWithTheSecretTheyWereIssuedFor(t *testing.T) {
	soon := now.Add(time.Minute)
	p := access.Partner{ID: "acme", Enabled: true, Secrets: []access.Secret{
		{SHA256: access.DigestSecret("old"), Expires: &soon}, {SHA256: access.DigestSecret("new")},
	}}
	removed, twice := p, p
	removed.Enabled = false
	twice.Secrets = append(twice.Secrets, access.Secret{SHA256: access.DigestSecret("old")})
	for name, c := range map[string]struct {
		p      access.Partner
		claims access.Claims
		at     time.Time
		want   bool
	}{
		"of the secret in force":         {p, access.Claims{Partner: "acme", Secret: access.SecretID("new")}, soon, true},
		"of an old secret in its grace":  {p, access.Claims{Partner: "acme", Secret: access.SecretID("old")}, soon.Add(-1), true},
		"of an old secret at its end":    {p, access.Claims{Partner: "acme", Secret: access.SecretID("old")}, soon, false},
		"of a secret that is there anew": {twice, access.Claims{Partner: "acme", Secret: access.SecretID("old")}, soon, true},
		"of a secret that was replaced":  {p, access.Claims{Partner: "acme", Secret: access.SecretID("older")}, now, false},
		"of no secret":                   {p, access.Claims{Partner: "acme"}, now, false},
		"of another partner":             {p, access.Claims{Partner: "globex", Secret: access.SecretID("new")}, now, false},
		"of a partner that was removed":  {removed, access.Claims{Partner: "acme", Secret: access.SecretID("new")}, now, false},
	} {
		if got := c.p.Honours(c.claims, c.at); got != c.want {
			t.Errorf("an access token %s is honoured: %t", name, got)
		}
	}
	if until, ok := p.InForce(access.SecretID("old"), now); !ok || !until.Equal(soon) {
		t.Errorf("the old secret is in force until %v, %t", until, ok)
	}
	if until, ok := p.InForce(access.SecretID("new"), now); !ok || !until.IsZero() {
		t.Errorf("the new secret is in force until %v, %t", until, ok)
	}
	empty := access.Partner{ID: "acme", Enabled: true, Secrets: []access.Secret{{}}}
	if _, ok := empty.InForce("", now); ok {
		t.Error("an empty digest is a secret")
	}
}

func TestSecretsAreKeptAsSHA256(t *testing.T) {
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1
	if got := access.DigestSecret("abc"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestGrants(t *testing.T) {
	p := access.Partner{ID: "acme", Enabled: true, Studies: []string{"FHIR-T", "M\u00fcnchen"}}
	for study, want := range map[string]bool{"FHIR-T": true, "M\u00fcnchen": true, "fhir-t": false, "": false, "FHIR": false, "_access": false} {
		if p.Granted(study) != want {
			t.Errorf("Granted(%q) is %t", study, !want)
		}
	}
	p.Enabled = false
	if p.Granted("FHIR-T") {
		t.Error("a removed partner is granted a study")
	}
}
