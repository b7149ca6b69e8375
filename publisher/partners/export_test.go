package partners

import "time"

// Away is for tests of which servers are gone.
var Away = away

// WithoutTimeouts is for tests of which errors of a deletion count.
var WithoutTimeouts = withoutTimeouts

// WithdrawWithin is for tests on a server that always answers: it returns cfg with another
// timeout of a request that withdraws something.
func WithdrawWithin(cfg Config, d time.Duration) Config {
	cfg.withdrawTimeout = d
	return cfg
}

// Rounds is for tests of whose states are asked for: it returns the consumers asked
// about in each of n rounds, before each of which the active partner sends something.
func Rounds(consumers []string, n int, interval time.Duration, active string) [][]string {
	r := &Reconciler{cfg: Config{Interval: interval}.withDefaults(), consumers: make(map[string]*consumerState)}
	for _, name := range consumers {
		r.consumers[name] = &consumerState{reported: true}
	}
	now := time.Now()
	rounds := make([][]string, n)
	for i := range rounds {
		rounds[i] = r.due(map[string]uint64{active: uint64(i + 1)})
		for _, name := range rounds[i] {
			r.consumers[name].asked = now
		}
		now = now.Add(interval)
	}
	return rounds
}
