package callout

import (
	"testing"
	"time"
)

func TestHeartbeatsAreChargedToWhoAsksForThem(t *testing.T) {
	const next, one, other = "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.", "$JS.ACK.SIGNOFF.", "$JS.ACK._._.SIGNOFF."
	fast := `{"batch":1,"expires":60000000000,"idle_heartbeat":1}`
	for what, c := range map[string]struct {
		subject, body, partner string
		heartbeats             time.Duration
	}{
		"a request":                           {next + "acme=A", fast, "acme", 120_000},
		"a request for access":                {next + "acme", fast, "acme", 120_000},
		"an acknowledgement that asks":        {one + "acme=A.1.1.1.1.1", "+NXT " + fast, "acme", 120_000},
		"the other form of it":                {other + "acme=A.1.1.1.1.1", "+NXT" + fast, "acme", 120_000},
		"a longer one":                        {other + "acme=A.1.1.1.1.1.x", "+NXT " + fast, "acme", 120_000},
		"with another's name for the domain":  {one + "globex=B.SIGNOFF.acme=A.1.1.1.1.1", "+NXT " + fast, "acme", 120_000},
		"with its own name for the domain":    {one + "acme=A.SIGNOFF.globex=B.1.1.1.1.1", "+NXT " + fast, "globex", 120_000},
		"slower":                              {next + "acme=A", `{"expires":60000000000,"idle_heartbeat":100000000}`, "acme", 600},
		"for a second":                        {next + "acme=A", `{"expires":1000000000,"idle_heartbeat":1000000}`, "acme", 1000},
		"for longer than it may wait":         {next + "acme=A", `{"expires":9000000000000000000,"idle_heartbeat":1}`, "acme", 120_000},
		"with spaces and other letters":       {next + "acme=A", " \n" + `{ "EXPIRES": 60000000000, "Idle_Heartbeat": 1 } `, "acme", 120_000},
		"with the last of several counting":   {next + "acme=A", `{"expires":1,"expires":60000000000,"idle_heartbeat":9000000000,"idle_heartbeat":1}`, "acme", 120_000},
		"as often as client libraries do":     {next + "acme=A", `{"expires":30000000000,"idle_heartbeat":500000000}`, "", 0},
		"without heartbeats":                  {next + "acme=A", `{"expires":60000000000}`, "", 0},
		"without an end":                      {next + "acme=A", `{"idle_heartbeat":1}`, "", 0},
		"before the beginning":                {next + "acme=A", `{"expires":-60000000000,"idle_heartbeat":1}`, "", 0},
		"less often than never":               {next + "acme=A", `{"expires":60000000000,"idle_heartbeat":-1}`, "", 0},
		"by a number":                         {next + "acme=A", "10", "", 0},
		"by nothing":                          {next + "acme=A", "", "", 0},
		"by what is no JSON":                  {next + "acme=A", `{"expires":60000000000,"idle_heartbeat":1`, "", 0},
		"an acknowledgement":                  {one + "acme=A.1.1.1.1.1", "+ACK", "", 0},
		"an acknowledgement with a body":      {one + "acme=A.1.1.1.1.1", fast, "", 0},
		"an acknowledgement that asks for 10": {one + "acme=A.1.1.1.1.1", "+NXT 10", "", 0},
	} {
		t.Run(what, func(t *testing.T) {
			every, wait := heartbeatOf(c.subject, []byte(c.body))
			if c.heartbeats == 0 {
				if every != 0 {
					t.Errorf("one each %s", every)
				}
				return
			}
			if every == 0 || wait/every != c.heartbeats {
				t.Errorf("one each %s for %s, want %d", every, wait, c.heartbeats)
			}
			if got := ownerOf(consumerIn(c.subject)); got != c.partner {
				t.Errorf("charged to %s, want %s", got, c.partner)
			}
		})
	}
}
