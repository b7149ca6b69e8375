package partners_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// toEnter are logins as somebody else, or as nobody.
func toEnter() (all []attack) {
	enter := func(what string, how func(s *attackTest) ([]nats.Option, error)) {
		all = append(all, attack{"enter " + what, false, func(s *attackTest) error { return s.enter(how) }})
	}
	as := func(what, user, password string) {
		enter(what, func(*attackTest) ([]nats.Option, error) { return []nats.Option{nats.UserInfo(user, password)}, nil })
	}
	token := func(what string, mint func(s *attackTest) (string, error)) {
		enter(what, func(s *attackTest) ([]nats.Option, error) {
			text, err := mint(s)
			return []nats.Option{nats.Token(text)}, err
		})
	}
	own := secretOf("mallory")
	for _, role := range []natsd.Role{natsd.Publisher, natsd.Reader, natsd.Operator, natsd.System, natsd.Partners, natsd.Keeper, natsd.Callout} {
		enter("as "+string(role), func(*attackTest) ([]nats.Option, error) {
			return []nats.Option{nats.UserInfo("signoff."+string(role), own)}, nil
		})
		as("as "+string(role)+" without the prefix", string(role), own)
	}
	for _, user := range []string{"", "APP", "SYS", "$SYS", "$G", "partner-globex", "globex ", " globex", "GLOBEX", "globex\x00", "*", ">", "route", "sys", "admin", strings.Repeat("x", 2000)} {
		as(fmt.Sprintf("as %.20q", user), user, own)
	}
	as("as another partner", "globex", own)
	as("as another partner without a secret", "globex", "")
	as("as another partner by digest", "globex", access.DigestSecret(secretOf("globex")))
	as("as a partner that was removed", "hooli", secretOf("hooli"))
	as("without a secret", "mallory", "")
	as("by the name of its connection", "mallory."+access.SecretID(own)+"."+grants([]string{"A"}), own)
	enter("with nothing", func(*attackTest) ([]nats.Option, error) { return nil, nil })
	enter("with a huge password", func(*attackTest) ([]nats.Option, error) {
		return []nats.Option{nats.UserInfo("mallory", own+strings.Repeat("x", 3900))}, nil
	})
	enter("with a token beside another's name", func(s *attackTest) ([]nats.Option, error) {
		return []nats.Option{nats.Token(s.token("mallory")), nats.UserInfo("globex", "")}, nil
	})
	token("with a token of a partner that was removed", func(s *attackTest) (string, error) { return s.token("hooli"), nil })
	token("with another partner's token signed by itself", func(*attackTest) (string, error) { return forge("globex", secretOf("globex")) })
	token("with the victim's name written into its token", func(s *attackTest) (string, error) {
		parts := strings.Split(s.token("mallory"), ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.ReplaceAll(string(payload), "mallory", "globex")))
		return strings.Join(parts, "."), err
	})
	token("with a token without an algorithm", func(s *attackTest) (string, error) {
		parts := strings.Split(s.token("globex"), ".")
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".", nil
	})
	token("with an expired token", func(s *attackTest) (string, error) {
		return s.signer.Issue("1", "test", "mallory", own, s.clock.Now().Add(-access.Lifetime-time.Second))
	})
	token("with a user JWT as the token", func(*attackTest) (string, error) { text, _, err := userJWT(); return text, err })
	all = append(all, attack{"enter with user JWTs", false, (*attackTest).enterWithJWTs})
	enter("with an nkey of its own", func(*attackTest) ([]nats.Option, error) {
		user, err := nkeys.CreateUser()
		if err != nil {
			return nil, err
		}
		public, err := user.PublicKey()
		return []nats.Option{nats.Nkey(public, user.Sign)}, err
	})
	return all
}

// enter tries all servers, and lets a minute pass first, so that what is tried
// is looked at.
func (s *attackTest) enter(how func(*attackTest) ([]nats.Option, error)) error {
	s.clock.advance(time.Minute)
	opts, err := how(s)
	if err != nil {
		return err
	}
	var group errgroup.Group
	for i := range s.urls {
		group.Go(func() error {
			nc, err := connectOnce(s.urls[i], opts...)
			if err == nil {
				nc.Close()
				return errors.New("it got in")
			}
			if errors.Is(err, nats.ErrTimeout) {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}

// forge makes a token as the token endpoint does, with a key of the attacker's.
func forge(id, secret string) (string, error) {
	private, err := access.NewKey()
	if err != nil {
		return "", err
	}
	signer, err := access.NewSigner(private)
	if err != nil {
		return "", err
	}
	return signer.Issue("1", "test", id, secret, time.Now())
}

// userJWT makes a user of account APP, signed by an account key that nobody
// knows.
func userJWT() (text, seed string, err error) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		return "", "", err
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		return "", "", err
	}
	public, err := user.PublicKey()
	if err != nil {
		return "", "", err
	}
	claims := jwt.NewUserClaims(public)
	claims.Name, claims.Audience = "signoff.publisher", "APP"
	if text, err = claims.Encode(account); err != nil {
		return "", "", err
	}
	secret, err := user.Seed()
	return text, string(secret), err
}

// enterWithJWTs tries user JWTs that name each account, signed by each key that the
// attacker may have made or stolen from a callout, and what the servers show of their own,
// all side by side: the server answers some of them late.
func (s *attackTest) enterWithJWTs() error {
	own, err := nkeys.CreateAccount()
	if err != nil {
		return err
	}
	ownKey, err := own.PublicKey()
	if err != nil {
		return err
	}
	stolen, err := s.keys.Answers().MarshalText()
	if err != nil {
		return err
	}
	var seeds struct{ Logins, Answers string }
	if err := json.Unmarshal(stolen, &seeds); err != nil {
		return err
	}
	logins, err := nkeys.FromSeed([]byte(seeds.Logins))
	if err != nil {
		return err
	}
	answers, err := nkeys.FromSeed([]byte(seeds.Answers))
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(64)
	try := func(what string, opts ...nats.Option) {
		for i := range s.urls {
			group.Go(func() error {
				nc, err := connectOnce(s.urls[i], opts...)
				if err == nil {
					nc.Close()
					return fmt.Errorf("%s got in", what)
				}
				return nil
			})
		}
	}
	for account, key := range map[string]string{
		"APP": s.keys.App, "AUTH": s.keys.Auth, "SYS": s.keys.System, "its own partner's": s.keys.PartnerAccount("mallory"),
		"the victim's": s.keys.PartnerAccount("globex"), "an unknown": ownKey, "a removed partner's": s.keys.PartnerAccount("hooli"),
	} {
		for signer, by := range map[string]nkeys.KeyPair{"a stranger": own, "the key of logins": logins, "the key of answers": answers} {
			for _, bearer := range []bool{false, true} {
				user, err := nkeys.CreateUser()
				if err != nil {
					return err
				}
				public, err := user.PublicKey()
				if err != nil {
					return err
				}
				claims := jwt.NewUserClaims(public)
				claims.Name, claims.IssuerAccount, claims.BearerToken = "signoff.keeper", key, bearer
				text, err := claims.Encode(by)
				if err != nil {
					return err
				}
				what := fmt.Sprintf("a user of account %s signed by %s, bearer %t", account, signer, bearer)
				try(what, nats.UserJWT(func() (string, error) { return text, nil }, user.Sign))
				try(what+", as a token", nats.Token(text))
			}
		}
	}
	for _, text := range regexp.MustCompile(`eyJ[A-Za-z0-9_.-]+`).FindAllString(s.preload.Text(), -1) {
		text = strings.TrimRight(text, ".")
		try("a JWT of the configuration", nats.UserJWT(func() (string, error) { return text, nil }, logins.Sign))
		try("a JWT of the configuration as a token", nats.Token(text))
	}
	return group.Wait()
}
