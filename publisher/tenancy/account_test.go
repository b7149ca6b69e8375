package tenancy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

func TestAnAccountLetsThroughWhatItsConsumersNeed(t *testing.T) {
	limits := tenancy.Limits{Connections: 1, Subscriptions: 2, Payload: 3}
	consumer := func(name string) []tenancy.Service {
		return []tenancy.Service{
			{
				Subject: "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF." + name, Local: "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF." + name,
				Import: "$JS.signoff.CONSUMER.MSG.NEXT.SIGNOFF." + name, Streamed: true,
			},
			{
				Subject: "$JS.API.CONSUMER.INFO.SIGNOFF." + name, Local: "js.signoff.CONSUMER.INFO.SIGNOFF." + name,
				Import: "$JS.signoff.CONSUMER.INFO.SIGNOFF." + name,
			},
			same("$JS.ACK.SIGNOFF." + name + ".*.*.*.*.*"),
			same("$JS.ACK.*.*.SIGNOFF." + name + ".*.*.*.*.>"),
		}
	}
	want := tenancy.Account{
		Name: "partner-acme", Services: append(consumer("acme"), consumer("acme=A")...),
		Streams: []string{"crit.partner.acme.access", "crit.v1.A.>"},
		Mapping: tenancy.Mapping{From: "js.signoff.>", To: "$JS.signoff.>"}, Limits: limits,
	}
	got := tenancy.AccountOf("acme", []string{"A"}, limits)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("account (-want +got):\n%s", diff)
	}

	permissions := tenancy.Permissions{
		Publish: []string{
			"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme", "$JS.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme",
			"js.signoff.CONSUMER.INFO.SIGNOFF.acme", "$JS.signoff.CONSUMER.INFO.SIGNOFF.acme",
			"$JS.ACK.SIGNOFF.acme.*.*.*.*.*", "$JS.ACK.*.*.SIGNOFF.acme.*.*.*.*.>",
			"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A", "$JS.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A",
			"js.signoff.CONSUMER.INFO.SIGNOFF.acme=A", "$JS.signoff.CONSUMER.INFO.SIGNOFF.acme=A",
			"$JS.ACK.SIGNOFF.acme=A.*.*.*.*.*", "$JS.ACK.*.*.SIGNOFF.acme=A.*.*.*.*.>",
		},
		Subscribe: []string{
			"_INBOX.>",
			"crit.partner.acme.access", "crit.partner.acme.access acme", "crit.partner.acme.access acme.>",
			"crit.v1.A.>", "crit.v1.A.> acme", "crit.v1.A.> acme.>",
		},
	}
	if diff := cmp.Diff(permissions, got.Permissions()); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
}

func same(subject string) tenancy.Service {
	return tenancy.Service{Subject: subject, Local: subject, Import: subject}
}

func TestAClosedAccountLetsNothingThrough(t *testing.T) {
	if diff := cmp.Diff(tenancy.Account{Name: "partner-acme"}, tenancy.ClosedAccount("acme")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
