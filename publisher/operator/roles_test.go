package operator_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

func TestOnlyTheKeeperPushesAndLooksUpAccounts(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 1, false)
	key := in.keys.PartnerAccount("acme")
	keeper := []string{"$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT." + key + ".CLAIMS.LOOKUP", "$SYS.REQ.SERVER.N.KICK"}
	others := []string{
		"$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.CLAIMS.PACK", "$SYS.ACCOUNT." + key + ".CLAIMS.UPDATE",
		"$SYS.REQ.ACCOUNT." + key + ".CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT." + key + ".INFO", "$SYS.REQ.SERVER.N.RELOAD", "$SYS.REQ.SERVER.N.LDM",
		"$SYS._INBOX.N.x",
	}
	for _, role := range operator.Roles {
		for _, subject := range append(keeper, others...) {
			allowed := role == operator.Keeper && slices.Contains(keeper, subject) || role == operator.Callout && subject == "$SYS._INBOX.N.x"
			if in.mayPublish(role, subject) != allowed {
				t.Errorf("%s may publish to %s: %t, want %t", role, subject, !allowed, allowed)
			}
		}
	}
	system := in.mustConnect(operator.System)
	for _, report := range []string{"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.PING.JSZ"} {
		if _, err := system.Request(report, nil, timeout); err != nil {
			t.Errorf("%s: %v", report, err)
		}
	}
}

// mayPublish reports whether the server lets a role publish to a subject.
func (in *installation) mayPublish(role operator.Role, subject string) bool {
	in.t.Helper()
	login, err := in.keys.Login(in.roles, role)
	if err != nil {
		in.t.Fatal(err)
	}
	denied := make(chan error, 8)
	nc, err := nats.Connect(in.urls(), login, nats.Timeout(timeout), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		in.t.Fatal(err)
	}
	defer nc.Close()
	// What may certainly not be published to shows when the first answer would be there.
	for _, s := range []string{subject, "surely.denied"} {
		if err := nc.Publish(s, nil); err != nil {
			in.t.Fatal(err)
		}
	}
	for {
		select {
		case err := <-denied:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				in.t.Fatal(err)
			}
			if strings.Contains(err.Error(), subject) {
				return false
			}
			return true
		case <-time.After(timeout):
			in.t.Fatalf("%s: no answer about %s", role, subject)
		}
	}
}

// Only what the callout answers lets a partner in, whoever has signed a JWT.
func TestJWTsThatClientsBringOpenNothing(t *testing.T) {
	t.Parallel()
	eachSize(t, func(t *testing.T, in *installation) {
		in.answerLogins()
		in.compare(in.accounts(), accountOf("acme", "A"))
		in.mustLogin(in.nodes[0], "acme")
		// A seed file is what a thief would have.
		stolen := func(file string) nkeys.KeyPair {
			t.Helper()
			seed, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(in.nodes[0].accounts)), "keys", file))
			if err != nil {
				t.Fatal(err)
			}
			pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(seed))))
			if err != nil {
				t.Fatal(err)
			}
			return pair
		}
		stranger, err := nkeys.CreateAccount()
		if err != nil {
			t.Fatal(err)
		}
		acme := in.keys.PartnerAccount("acme")
		var group sync.WaitGroup // a wrong one takes seconds
		for name, try := range map[string]struct {
			account string
			by      nkeys.KeyPair
			bearer  bool
		}{
			"the stolen key of logins":                {acme, stolen("logins.nk"), false},
			"the stolen key of logins, bearer":        {acme, stolen("logins.nk"), true},
			"the stolen key of logins claims APP":     {in.keys.App, stolen("logins.nk"), false},
			"the stolen key of logins claims SYS":     {in.keys.System, stolen("logins.nk"), false},
			"the stolen key of logins claims READ":    {in.keys.Read, stolen("logins.nk"), false},
			"the stolen key of answers claims READ":   {in.keys.Read, stolen("answers.nk"), false},
			"the stolen key of logins claims AUTH":    {in.keys.Auth, stolen("logins.nk"), false},
			"the stolen key of answers claims APP":    {in.keys.App, stolen("answers.nk"), false},
			"the stolen key of answers claims SYS":    {in.keys.System, stolen("answers.nk"), false},
			"the stolen key of answers claims AUTH":   {in.keys.Auth, stolen("answers.nk"), false},
			"the stolen key of answers claims acme":   {acme, stolen("answers.nk"), false},
			"a stranger's key claims acme":            {acme, stranger, false},
			"a stranger's key claims APP":             {in.keys.App, stranger, false},
			"a stranger's key claims SYS":             {in.keys.System, stranger, false},
			"a stranger's key claims AUTH, as bearer": {in.keys.Auth, stranger, true},
			"an account that is nowhere":              {in.keys.PartnerAccount("nobody"), stolen("logins.nk"), false},
			"the reader's key with permissions":       {in.keys.Read, in.roles[operator.Reader], false},
			"the reader's key claims APP":             {in.keys.App, in.roles[operator.Reader], false},
			"the publisher's key with permissions":    {in.keys.App, in.roles[operator.Publisher], false},
			"the publisher's key claims READ":         {in.keys.Read, in.roles[operator.Publisher], false},
			"the reader's key claims SYS":             {in.keys.System, in.roles[operator.Reader], false},
		} {
			user, err := nkeys.CreateUser()
			if err != nil {
				t.Fatal(err)
			}
			key, err := user.PublicKey()
			if err != nil {
				t.Fatal(err)
			}
			claims := jwt.NewUserClaims(key)
			claims.IssuerAccount, claims.BearerToken = try.account, try.bearer
			text, err := claims.Encode(try.by)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range in.nodes {
				group.Go(func() {
					nc, err := nats.Connect(n.url, nats.NoReconnect(), nats.Timeout(timeout),
						nats.UserJWT(func() (string, error) { return text, nil }, user.Sign))
					if err == nil {
						nc.Close()
						t.Errorf("%s got in at %s", name, n.name)
					}
				})
			}
		}
		// The sentinel's own JWT, which is in the servers' configuration, and those of accounts.
		for i, text := range regexp.MustCompile(`eyJ[^"]+`).FindAllString(in.preload.Text(), -1) {
			for _, n := range in.nodes {
				group.Go(func() {
					for _, opt := range []nats.Option{
						nats.UserJWT(func() (string, error) { return text, nil }, func([]byte) ([]byte, error) { return nil, nil }),
						nats.Token(text), nats.UserInfo("acme", text),
					} {
						if nc, err := nats.Connect(n.url, opt, nats.NoReconnect(), nats.Timeout(timeout)); err == nil {
							nc.Close()
							t.Errorf("JWT %d of the configuration got in at %s", i, n.name)
						}
					}
				})
			}
		}
		group.Wait()
	})
}

func TestWithoutAnAnswerNobodyGetsInAndRolesDo(t *testing.T) {
	t.Parallel()
	eachSize(t, func(t *testing.T, in *installation) {
		if err := in.accounts().SetAccount(t.Context(), accountOf("acme", "A")); err != nil {
			t.Fatal(err)
		}
		for _, n := range in.nodes {
			// The server's PING comes before the answer would be: an outage, not a refusal. On a
			// machine that stood still for a second the refusal may come first.
			in.until("a login at "+n.name+" is left unanswered", func() error {
				_, err := in.login(n, "acme")
				if err == nil {
					t.Fatal("it opens")
				}
				if errors.Is(err, nats.ErrAuthorization) {
					return err
				}
				return nil
			})
		}
		for _, role := range operator.Roles {
			in.mustConnect(role)
		}
	})
}

// What a role may do stands in the account, where it can be changed without new
// credentials.
func TestCredentialsHoldNoPermissions(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 1, false)
	for _, role := range operator.Roles {
		creds, err := in.keys.Credentials(in.roles, role)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.ParseDecoratedJWT(creds)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := jwt.DecodeUserClaims(text)
		if err != nil || !claims.HasEmptyPermissions() {
			t.Errorf("%s: %v, %v", role, claims, err)
		}
		file := filepath.Join(t.TempDir(), string(role)+".creds")
		brokertest.Write(t, file, string(creds))
		nc, err := nats.Connect(in.nodes[0].url, nats.UserCredentials(file), nats.Timeout(timeout))
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		nc.Close()
	}
}
