package operator

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
)

// Answers signs the answers to servers' questions about logins. It holds no key
// that signs accounts.
type Answers struct {
	operator, auth string        // public keys of the operator and of account AUTH
	userKey        nkeys.KeyPair // signs the JWT of an admitted user; partners' accounts list it
	answerKey      nkeys.KeyPair // signs the answer that holds this JWT or a refusal; account AUTH lists it
}

// Answers returns the keys with which logins are answered.
func (k *Keys) Answers() *Answers {
	return &Answers{operator: k.Operator, auth: k.Auth, userKey: k.login, answerKey: k.answers}
}

// answersForm is how Answers are stored.
type answersForm struct {
	Operator string `json:"operator"` // public key
	Auth     string `json:"auth"`     // public key of account AUTH
	Logins   string `json:"logins"`   // seed of the key that signs logins
	Answers  string `json:"answers"`  // seed of the key that signs answers
}

// MarshalText returns the keys in the form that ParseAnswers reads. The text is a
// secret: it holds the private keys.
func (a *Answers) MarshalText() ([]byte, error) {
	logins, err := a.userKey.Seed()
	if err != nil {
		return nil, fmt.Errorf("read the key that signs logins: %w", err)
	}
	answers, err := a.answerKey.Seed()
	if err != nil {
		return nil, fmt.Errorf("read the key that signs answers to logins: %w", err)
	}
	return json.MarshalIndent(answersForm{a.operator, a.auth, string(logins), string(answers)}, "", "  ")
}

// ParseAnswers reads what MarshalText returned: the file that "signoff nats-config"
// wrote for "signoff callout". Any other text is an Invalid Error.
func ParseAnswers(text []byte) (*Answers, error) {
	var form answersForm
	if err := json.Unmarshal(text, &form); err != nil {
		return nil, &events.Error{Code: events.Invalid, Message: "the keys that answer logins cannot be read; write them again with signoff nats-config", Err: err}
	}
	if !nkeys.IsValidPublicOperatorKey(form.Operator) || !nkeys.IsValidPublicAccountKey(form.Auth) {
		return nil, events.Errorf(events.Invalid, "the keys that answer logins name no operator or no account; write them again with signoff nats-config")
	}
	a := &Answers{operator: form.Operator, auth: form.Auth}
	for _, k := range []struct {
		seed string
		key  *nkeys.KeyPair
	}{{form.Logins, &a.userKey}, {form.Answers, &a.answerKey}} {
		kind, _, err := nkeys.DecodeSeed([]byte(k.seed))
		if err != nil || kind != nkeys.PrefixByteAccount {
			return nil, events.Errorf(events.Invalid, "the keys that answer logins hold a seed that is none of an account; write them again with signoff nats-config")
		}
		if *k.key, err = nkeys.FromSeed([]byte(k.seed)); err != nil {
			return nil, fmt.Errorf("read the keys that answer logins: %w", err)
		}
	}
	if form.Logins == form.Answers {
		return nil, events.Errorf(events.Invalid, "the keys that answer logins hold one seed twice; write them again with signoff nats-config")
	}
	return a, nil
}

// Admit returns the answer that lets the user of a request into the account of a
// partner, with the name, permissions, limits and expiry that are set in user.
func (a *Answers) Admit(request *jwt.AuthorizationRequestClaims, partner string, user *jwt.UserClaims) (string, error) {
	user.Subject = request.UserNkey
	user.Audience = ""
	user.IssuerAccount = PartnerAccount(a.operator, partner)
	text, err := user.Encode(a.userKey)
	if err != nil {
		return "", fmt.Errorf("sign a login: %w", err)
	}
	return a.answer(request, text, "")
}

// Refuse returns the answer that refuses a request. The server writes the reason
// into its log; it does not send it to the client.
func (a *Answers) Refuse(request *jwt.AuthorizationRequestClaims, reason string) (string, error) {
	return a.answer(request, "", reason)
}

// answer returns the signed answer to a request. It is for the server that asked. The
// user is the JWT of the admitted user, or empty if the login is refused.
func (a *Answers) answer(request *jwt.AuthorizationRequestClaims, user, reason string) (string, error) {
	response := jwt.NewAuthorizationResponseClaims(request.UserNkey)
	response.Audience = request.Server.ID
	response.IssuerAccount = a.auth
	response.Jwt, response.Error = user, reason
	text, err := response.Encode(a.answerKey)
	if err != nil {
		return "", fmt.Errorf("sign the answer to a login: %w", err)
	}
	return text, nil
}
