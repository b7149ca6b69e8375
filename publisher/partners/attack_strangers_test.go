package partners_test

import (
	"errors"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"golang.org/x/sync/errgroup"
)

var strangers = flag.Int("strangers", 100, "logins with JWTs of unknown accounts beside honest logins")

// A server looks for the account of each such login, on the other servers too.
func TestStrangersKeepNobodyOut(t *testing.T) {
	for where, build := range map[string]func(*testing.T) *attackTest{"the embedded server": embeddedAttackTest, "a cluster": clusterAttackTest} {
		t.Run(where, func(t *testing.T) {
			s := build(t)
			var group errgroup.Group
			group.SetLimit(32)
			var left atomic.Int64
			left.Store(int64(*strangers))
			group.Go(func() error {
				for n := 0; left.Load() > 0; n++ {
					nc, err := s.dialAt(n, nats.UserInfo("initech", secretOf("initech")))
					if err != nil {
						return fmt.Errorf("honest login %d: %w", n, err)
					}
					_, err = info(nc, "initech=C")
					nc.Close()
					if err != nil {
						return fmt.Errorf("honest request %d: %w", n, err)
					}
				}
				return nil
			})
			for n := range *strangers {
				group.Go(func() error {
					defer left.Add(-1)
					login, err := strange()
					if err != nil {
						return err
					}
					nc, err := connectOnce(s.urls[n%len(s.urls)], login)
					if err == nil {
						nc.Close()
						return errors.New("a stranger got in")
					}
					return nil
				})
			}
			if err := group.Wait(); err != nil {
				t.Error(err)
			}
			if n := len(s.drain([]*nats.Subscription{s.logins})); n == 0 {
				t.Error("no login was asked about")
			}
			s.deliverToHonest(t)
			s.wantNoLoad(t)
		})
	}
}

// strange returns a login of a user of an account that no server knows.
func strange() (nats.Option, error) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		return nil, err
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	public, err := user.PublicKey()
	if err != nil {
		return nil, err
	}
	text, err := jwt.NewUserClaims(public).Encode(account)
	return nats.UserJWT(func() (string, error) { return text, err }, user.Sign), err
}
