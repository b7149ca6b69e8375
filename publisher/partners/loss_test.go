package partners_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// Accounts are made again from the directory of partners, keys too; how far partners have
// read lies in the stream.
func TestWhateverIsLostOfAccountsPartnersGoOnWhereTheyWere(t *testing.T) {
	eachAccount := func(dir string, damage func(path string) error) error {
		files, err := filepath.Glob(filepath.Join(dir, "jwt", "*.jwt"))
		if err == nil && len(files) < 4 {
			err = errors.New("there are no accounts")
		}
		for _, file := range files {
			err = errors.Join(err, damage(file))
		}
		return err
	}
	for what, lose := range map[string]func(dir string) error{
		"the accounts": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "jwt")) },
		"the keys":     func(dir string) error { return os.RemoveAll(filepath.Join(dir, "keys")) },
		"the keys and accounts": func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "jwt")), os.RemoveAll(filepath.Join(dir, "keys")))
		},
		"half of each account": func(dir string) error {
			return eachAccount(dir, func(path string) error { return os.Truncate(path, 200) })
		},
		"the operator mode, as in versions before": func(dir string) error {
			stores, err := filepath.Glob(filepath.Join(dir, "jetstream", "A*"))
			if err != nil || len(stores) != 1 {
				return errors.Join(err, errors.New("there is not one store"))
			}
			return errors.Join(os.Rename(stores[0], filepath.Join(dir, "jetstream", "APP")), os.RemoveAll(filepath.Join(dir, "jwt")), os.RemoveAll(filepath.Join(dir, "keys")))
		},
	} {
		t.Run(what, func(t *testing.T) {
			h := newInstallation(t, config{})
			h.publish("A", "a1", "a2", "a3")
			h.admit("acme", "A")
			h.admit("globex", "A")
			same(t, "before", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 1), "a1")
			h.stop()
			h.server.Shutdown()
			if err := lose(h.dir); err != nil {
				t.Fatal(err)
			}
			h.startServer()
			h.startService()
			h.ready()
			same(t, "after", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 2), "a2", "a3")
			same(t, "another partner", take(t, consumer(t, h.mustLogin("globex"), "globex=A"), 3), "a1", "a2", "a3")
		})
	}
}

// Partners stay connected, or connect again by themselves, and go on where they were.
func TestAllServersLoseTheirAccountsWhilePartnersAreConnected(t *testing.T) {
	t.Parallel()
	h := prepare(t, config{AckWait: 5 * time.Second, CompareInterval: 100 * time.Millisecond})
	ids := []string{"acme", "globex", "initech"}
	for _, id := range ids {
		h.directory.d = h.directory.d.WithPartner(partner(id, "A"))
	}
	c := startProcesses(t)
	h.on(c)
	h.startService()
	h.ready()
	h.publish("A", "a1", "a2", "a3")
	open := make(map[string]*nats.Conn)
	for i, id := range ids {
		until(t, id+" is let in", func() (ok bool) { // a server has to learn first who answers
			nc, err := nats.Connect(c.urls[i], nats.UserInfo(id, secretOf(id)), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
				nats.IgnoreAuthErrorAbort(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
			open[id] = nc
			return err == nil
		})
		t.Cleanup(open[id].Close)
		same(t, "before", take(t, consumer(t, open[id], id+"=A"), 1), "a1")
	}
	lose := func() {
		t.Helper()
		for _, dir := range c.accounts {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	stored := func() bool {
		for _, dir := range c.accounts {
			for _, id := range ids {
				if _, err := os.Stat(filepath.Join(dir, h.keys.PartnerAccount(id)+".jwt")); err != nil {
					return false
				}
			}
		}
		return true
	}
	read := func(want string) {
		t.Helper()
		for i, id := range ids {
			js, err := jetstream.NewWithAPIPrefix(open[id], events.PartnerAPIPrefix)
			if err != nil {
				t.Fatal(err)
			}
			var msg jetstream.Msg
			until(t, id+" reads on", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				consumer, err := js.Consumer(ctx, events.Stream, events.PartnerConsumer(id, "A"))
				if err == nil {
					msg, err = consumer.Next(jetstream.FetchMaxWait(time.Second))
				}
				return err == nil
			})
			until(t, id+" acknowledges", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				return msg.DoubleAck(ctx) == nil
			})
			same(t, fmt.Sprint(id, " at server ", i+1), []string{string(msg.Data())}, want)
		}
	}

	lose()
	until(t, "running servers store the accounts again", stored)
	read("a2")
	for i := range c.processes {
		c.kill(i)
	}
	lose()
	for i := range c.processes {
		c.start(t, i)
	}
	until(t, "started servers store the accounts again", stored)
	read("a3")
	for _, id := range ids {
		none(t, consumer(t, open[id], id+"=A"))
	}
}

func TestAPartnerThatIsRemovedAndAddedAgainStartsFromTheFirstEvent(t *testing.T) {
	h := newInstallation(t, config{})
	h.publish("A", "a1", "a2")
	h.admit("acme", "A")
	same(t, "before", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 1), "a1")
	gone := h.mustLogin("acme").StatusChanged(nats.CLOSED)
	h.setPartner(access.Partner{ID: "acme", Studies: []string{}, Secrets: []access.Secret{}})
	closed(t, "the partner", gone)
	nc, err := h.login("acme")
	wantRefused(t, "a removed partner", nc, err)
	h.admit("acme", "A")
	same(t, "after", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 2), "a1", "a2")
}

// Who holds the role keeper may push an account that it has signed itself.
func TestAnAccountThatSomebodyElsePushedIsPutRight(t *testing.T) {
	h := newInstallation(t, config{CompareInterval: 50 * time.Millisecond})
	h.admit("acme", "A")
	keeper := h.connect(natsd.Keeper)
	key := h.keys.PartnerAccount("acme")
	stored := func() string {
		m, err := keeper.Request("$SYS.REQ.ACCOUNT."+key+".CLAIMS.LOOKUP", nil, timeout)
		if err != nil {
			t.Fatal(err)
		}
		return string(m.Data)
	}
	before, err := jwt.DecodeAccountClaims(stored())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	claims := *before
	claims.Imports = nil
	forged, err := claims.Encode(stranger)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keeper.Request("$SYS.REQ.CLAIMS.UPDATE", []byte(forged), timeout); err != nil {
		t.Fatal(err)
	}
	until(t, "the account is the right one", func() bool {
		now, err := jwt.DecodeAccountClaims(stored())
		return err == nil && now.Issuer == before.Issuer && len(now.Imports) == len(before.Imports)
	})
	h.admit("acme", "A")
}
