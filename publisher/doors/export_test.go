package doors

import (
	"time"

	"github.com/nats-io/jwt/v2"
)

// GrantsOf is for tests of what a connection's name says, Away of which servers are gone.
var (
	GrantsOf = grantsOf
	Away     = away
)

func connectOptions(token, user, password string) jwt.ConnectOptions {
	return jwt.ConnectOptions{Token: token, Username: user, Password: password}
}

// Rounds is for tests of whose states are asked for: it returns the consumers asked
// about in each of n rounds, before each of which the active partner sends something.
func Rounds(consumers []string, n int, interval time.Duration, active string) [][]string {
	d := &Doors{cfg: Config{Interval: interval}.withDefaults(), stock: make(map[string]*entry), allowance: newAllowance(1<<20, 1<<20)}
	for _, name := range consumers {
		d.stock[name] = &entry{seen: true}
	}
	now := time.Now()
	rounds := make([][]string, n)
	for i := range rounds {
		d.allowance.enter(active, now)
		rounds[i] = d.due()
		for _, name := range rounds[i] {
			d.stock[name].asked = now
		}
		now = now.Add(interval)
	}
	return rounds
}
