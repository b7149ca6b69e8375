package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/tokenkey"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// keysCommand administers the keys that sign access tokens.
type keysCommand struct {
	Rotate keysRotate `cmd:"" help:"Sign access tokens with a new key from now on. Access tokens issued before stay valid until they expire."`
	Revoke keysRevoke `cmd:"" help:"End a key at once: no access token that it signed is accepted any more. Status 1 if that is not in force after 2 s."`
	List   keysList   `cmd:"" help:"List the keys that sign or have signed access tokens."`
}

type keysRotate struct{}

func (cmd *keysRotate) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		current, older, err := tokenkey.Rotate(ctx, c.dir(), o, console.Operator(), func(string) {})
		if err != nil {
			return err
		}
		facts := struct {
			Key     string    `json:"key"`
			Retired []keyFact `json:"retired"`
		}{current, []keyFact{}}
		for _, k := range older {
			facts.Retired = append(facts.Retired, factOf(k, current, time.Now()))
		}
		return console.PrintFacts(t, facts, func(w io.Writer) {
			fmt.Fprintf(w, "access tokens are signed with the key %s\n", current)
			for _, k := range facts.Retired {
				fmt.Fprintf(w, "the key %s is retired; the last access token it signed expires at %s\n", k.ID, events.FormatTime(k.Until.Add(access.Lifetime)))
			}
		})
	})
}

type keysRevoke struct {
	ID string `arg:"" help:"Key id, as signoff keys list prints it."`
}

func (cmd *keysRevoke) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		current, err := tokenkey.Revoke(ctx, c.dir(), o, console.Operator(), cmd.ID)
		if errors.Is(err, tokenkey.ErrNotReplaced) { // it is revoked all the same, and that can be in force
			fmt.Fprintf(t.Out, "the key %s is revoked\n", cmd.ID)
			fmt.Fprintln(t.Err, err)
			return cmp.Or(awaitEnded(ctx, c, t, o), console.ErrPartly)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(t.Out, "the key %s is revoked\n", cmd.ID)
		if current != "" {
			fmt.Fprintf(t.Out, "access tokens are signed with the key %s\n", current)
		}
		return awaitEnded(ctx, c, t, o)
	})
}

// keyFact is what the commands print about a key.
type keyFact struct {
	ID    string    `json:"id"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until,omitzero"`
	State string    `json:"state"`
}

// States of a key. An announced key is one that an access event has made known.
const (
	keySigns    = "signs"    // in the key file
	keyReady    = "ready"    // announced and not in the key file: a rotation was cut short or is under way, or the file cannot be read
	keyAccepted = "accepted" // retired; access tokens that it signed may not have expired yet
	keyRetired  = "retired"
	keyRevoked  = "revoked" // none of its access tokens is accepted
)

// factOf returns what is printed about a key, with its state at the time now. Current is
// the id of the key in the key file; empty if that cannot be read.
func factOf(k access.Key, current string, now time.Time) keyFact {
	f := keyFact{ID: k.ID(), From: k.From, Until: k.Until, State: keyRetired}
	switch {
	case k.Revoked():
		f.State = keyRevoked
	case k.ID() == current:
		f.State = keySigns
	case k.Until.IsZero():
		f.State = keyReady
	case now.Before(k.Until.Add(access.Lifetime)):
		f.State = keyAccepted
	}
	return f
}

type keysList struct{}

func (cmd *keysList) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		keys, err := o.Accounts().Keys(ctx)
		if err != nil {
			return err
		}
		current := ""
		file, err := os.ReadFile(c.dir().TokenKey())
		if err == nil {
			var key *tokenkey.Key
			if key, err = tokenkey.Read(file); err == nil {
				current = key.ID()
			}
		}
		if err != nil && (c.dir().Served() || !errors.Is(err, fs.ErrNotExist)) { // else no server has made it yet
			fmt.Fprintf(t.Err, "the key file cannot be read, so the list does not show which key signs: %v\n", err)
		}
		facts := make([]keyFact, len(keys))
		for i, k := range keys {
			facts[i] = factOf(k, current, time.Now())
		}
		slices.Reverse(facts) // the newest first
		return console.PrintFacts(t, facts, func(w io.Writer) { printKeys(w, facts) })
	})
}

func printKeys(w io.Writer, facts []keyFact) {
	rows := make([][]string, len(facts))
	for i, f := range facts {
		until := ""
		if !f.Until.IsZero() {
			until = events.FormatTime(f.Until)
		}
		rows[i] = []string{f.ID, f.State, events.FormatTime(f.From), until}
	}
	console.Table(w, []string{"KEY", "STATE", "SIGNS FROM", "SIGNS UNTIL"}, rows)
}
