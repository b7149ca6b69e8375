package operator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestAPartnerReadsWhatItsAccountOpens(t *testing.T) {
	t.Parallel()
	eachSize(t, func(t *testing.T, in *installation) {
		in.answerLogins()
		in.makeStream("acme", "A", "B")
		in.publish("A", "a1", "a2")
		if err := in.accounts().SetAccount(t.Context(), accountOf("acme", "A")); err != nil {
			t.Fatal(err)
		}
		in.wantImports("acme", "A")
		for _, n := range in.nodes {
			nc := in.mustLogin(n, "acme")
			if n == in.nodes[0] {
				if got := in.take(nc, "acme", "A"); got != "a1" {
					t.Errorf("pulled %q", got)
				}
			}
			live, err := nc.SubscribeSync("crit.v1.A.>")
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			in.publish("A", "live")
			if _, err := live.NextMsg(timeout); err != nil {
				t.Errorf("at %s nothing was heard: %v", n.name, err)
			}
			_, err = nc.Request("js.signoff.CONSUMER.INFO.SIGNOFF.acme=B", nil, 500*time.Millisecond)
			if err == nil {
				t.Error("a study that is not granted was answered")
			}
		}
		if _, err := in.login(in.nodes[0], "globex"); err == nil {
			t.Error("a partner without an account got in")
		}
		in.until("a wrong password is refused", func() error { // it may take so long that the server has pinged before
			nc, err := nats.Connect(in.nodes[0].url, nats.UserInfo("acme", "wrong"), nats.NoReconnect(), nats.Timeout(timeout))
			if err == nil {
				nc.Close()
				t.Fatal("a wrong password opens")
			}
			if strings.Contains(err.Error(), "Authorization") {
				return nil
			}
			return err
		})
	})
}
