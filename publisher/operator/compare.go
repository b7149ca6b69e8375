package operator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

const (
	// batchSize is how many accounts Compare looks up, and then pushes, without waiting
	// for answers in between.
	batchSize = 16

	// batchesAtOnce is how many batches are under way at the same time, so that servers
	// work while accounts are signed. More would not be faster, and a withdrawal that
	// interrupts Compare waits until the servers have stored what was sent.
	batchesAtOnce = 4

	mostErrors = 5 // that Compare returns; they have the same cause, most likely
)

// comparison is one call of Compare.
type comparison struct {
	*Accounts
	replies *replies

	mu      sync.Mutex
	awaited map[string]string // names, by id, of the servers whose answers are waited for
	silent  []string          // names of those that stopped answering
	last    time.Time         // when any server last answered
	errs    []error
}

// Compare looks up the service's accounts and the given accounts of partners on all
// servers that answer, and pushes those that differ. Servers that now store all of them
// are up to date. So the partners must be all that there are or were: those that were
// removed come as closed accounts. Those that changed last should come first. After an
// error with one account the others are still compared.
//
// However many accounts differ, only a few are under way: the next ones are sent when
// the servers have answered.
func (a *Accounts) Compare(ctx context.Context, partners iter.Seq[tenancy.Account]) error {
	before, err := a.ping(ctx)
	if err != nil {
		return err
	}
	a.remember(before)
	r, err := a.connection()
	if err != nil {
		return err
	}
	c := &comparison{Accounts: a, replies: r, awaited: maps.Clone(before.answered), last: time.Now()}
	if err := c.compareAll(ctx, partners); err != nil {
		return err
	}
	// The answer to lookUpAccount names no server. Only if the servers were the same
	// all the time is it certain that each answer came from another one.
	after, err := a.ping(ctx)
	if err != nil {
		return err
	}
	if len(c.silent) == 0 && maps.Equal(before.answered, after.answered) {
		a.setUpToDate(after)
	}
	err = a.unanswered(after, len(after.answered))
	if err == nil && len(c.silent) > 0 { // it answers again
		err = &UnansweredError{c.silent}
	}
	return err
}

// setUpToDate stores that these servers store what they should.
func (a *Accounts) setUpToDate(resp responders) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, name := range resp.answered {
		if a.servers[id] == nil {
			a.servers[id] = &server{name: name, first: a.cfg.Clock()}
		}
		a.servers[id].upToDate, a.servers[id].last = true, a.cfg.Clock()
	}
}

// compareAll compares the accounts in batches, several at a time, and waits for all of
// them. It returns only the first few errors.
func (c *comparison) compareAll(ctx context.Context, partners iter.Seq[tenancy.Account]) error {
	c.restore(ctx)
	var group errgroup.Group
	group.SetLimit(batchesAtOnce)
	compare := func(batch []tenancy.Account) {
		group.Go(func() error { c.compare(ctx, batch); return nil })
	}
	var batch []tenancy.Account
	for partner := range partners {
		if batch = append(batch, partner); len(batch) == batchSize {
			compare(batch)
			batch = nil
		}
		if ctx.Err() != nil || c.failed() {
			break
		}
	}
	compare(batch)
	_ = group.Wait() // errors are in c.errs, so that one does not end the rest
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(c.errs[:min(len(c.errs), mostErrors)]...)
}

// failed reports whether no server answers any more.
func (c *comparison) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.awaited) == 0
}

// fail stores an error of one account.
func (c *comparison) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

// compare looks up accounts of partners and pushes them where they differ.
func (c *comparison) compare(ctx context.Context, batch []tenancy.Account) {
	keys, issuers := make([]string, len(batch)), make([]issuer, len(batch))
	for i, partner := range batch {
		keys[i], issuers[i] = c.issuer(partner)
	}
	stored := c.lookUp(ctx, keys)
	var differing []account
	for i, key := range keys {
		texts, ok := stored[key]
		if !ok {
			continue
		}
		same, err := c.same(key, issuers[i], texts)
		if err == nil && !same {
			var text string
			if text, err = c.issue(key, issuers[i], texts); err == nil {
				differing = append(differing, account{key, text})
			}
		}
		if err != nil {
			c.fail(err)
		}
	}
	c.push(ctx, differing)
}

// restore pushes accounts of the service of which a server stores another text. The push
// goes to all servers, but it changes nothing on those that have the text already.
//
// A server writes no file if the text is the one it wrote last, even if the file was
// changed since. It writes that file at its next start. This is logged once.
func (c *comparison) restore(ctx context.Context) {
	accounts := c.cfg.Preload.accounts
	differing, ok := c.differing(ctx, accounts)
	if ok && len(differing) > 0 {
		c.push(ctx, differing)
		differing, ok = c.differing(ctx, differing)
	}
	if !ok {
		return
	}
	c.Accounts.mu.Lock()
	defer c.Accounts.mu.Unlock()
	for _, own := range accounts {
		different := slices.Contains(differing, own)
		if different && !c.reported[own.key] {
			c.cfg.Log.Warn("the file of an account of the service differs on a NATS server; the server writes it again when it starts", "account", own.key)
		}
		c.reported[own.key] = different
	}
}

// differing returns the accounts of which a server stores another text. It returns false
// if one of them could not be looked up.
func (c *comparison) differing(ctx context.Context, accounts []account) (differing []account, ok bool) {
	keys := make([]string, len(accounts))
	for i, own := range accounts {
		keys[i] = own.key
	}
	stored := c.lookUp(ctx, keys)
	for _, own := range accounts {
		if slices.ContainsFunc(stored[own.key], func(text string) bool { return text != own.text }) {
			differing = append(differing, own)
		}
	}
	return differing, len(stored) == len(accounts)
}

// lookUp returns by account key the text that each server stores, empty if it stores none.
// It leaves out accounts that a server has not answered, and stores that as an error.
func (c *comparison) lookUp(ctx context.Context, keys []string) map[string][]string {
	requests := make([]request, len(keys))
	for i, key := range keys {
		requests[i].subject = fmt.Sprintf(lookUpAccount, key)
	}
	answers, servers, err := c.exchange(ctx, requests)
	if err != nil {
		c.fail(err)
		return nil
	}
	stored := make(map[string][]string)
	for i, key := range keys {
		if missing := servers - len(answers[i]); missing > 0 {
			c.fail(events.Errorf(events.Unavailable, "%d of %d NATS servers have not answered what they store of account %s", missing, servers, key))
			continue
		}
		stored[key] = texts(answers[i])
	}
	return stored
}

// push pushes accounts. What servers refuse or do not answer is stored as an error.
func (c *comparison) push(ctx context.Context, accounts []account) {
	requests := make([]request, len(accounts))
	for i, account := range accounts {
		requests[i] = request{pushAccount, []byte(account.text)}
	}
	answers, servers, err := c.exchange(ctx, requests)
	if err != nil {
		c.fail(fmt.Errorf("push accounts: %w", err))
		return
	}
	for i, account := range accounts {
		if _, err := takenBy(answers[i]); err != nil {
			c.fail(err)
		} else if missing := servers - len(answers[i]); missing > 0 {
			c.fail(events.Errorf(events.Unavailable, "%d of %d NATS servers have not answered the push of account %s", missing, servers, account.key))
		}
	}
}

// request is a request to all servers.
type request struct {
	subject string
	body    []byte
}

// exchange sends requests and then a ping. A server looks up and stores accounts in the
// order of the requests, before it answers a later ping. So when all servers have answered
// the ping there are no more answers. It returns the answers to each request, and the
// number of servers that have answered the ping.
//
// Servers may be slow, as with many accounts of other servers to store. They are waited for
// while answers arrive, to this exchange or to another one of the comparison. When none has
// arrived for Timeout, servers are pinged again: requests and ping may be lost with a connection.
// When none has arrived for CompareTimeout, those that have not answered the ping are silent:
// the comparison goes on without them.
func (c *comparison) exchange(ctx context.Context, requests []request) (answers [][]answer, servers int, err error) {
	answers = make([][]answer, len(requests))
	if len(requests) == 0 {
		return answers, 0, nil
	}
	replyTo, replies, done := c.replies.expect(len(requests) + 1)
	defer done()
	for i, r := range requests {
		err = errors.Join(err, c.replies.nc.PublishRequest(r.subject, replyTo+"."+strconv.Itoa(i), r.body))
	}
	if err = errors.Join(err, c.replies.nc.PublishRequest(pingServers, replyTo+".servers", nil)); err != nil {
		return nil, 0, fmt.Errorf("ask the NATS servers: %w", err)
	}
	answered := make(map[string]bool)
	tick := time.NewTicker(c.cfg.Timeout)
	defer tick.Stop()
	for {
		awaited, missing := c.missing(answered)
		switch {
		case awaited == 0:
			return nil, 0, noAnswer(context.DeadlineExceeded)
		case missing == 0:
			return answers, awaited, nil
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-tick.C:
			if c.quiet(answered) {
				_ = c.replies.nc.PublishRequest(pingServers, replyTo+".servers", nil) // the next tick tries again
			}
		case a := <-replies:
			if i, err := strconv.Atoi(a.kind); err == nil {
				answers[i] = append(answers[i], a)
			} else if answered[a.server.ID] { // to another ping: nothing more is known
				continue
			} else {
				answered[a.server.ID] = true
			}
			c.setLast()
		}
	}
}

// missing returns how many servers are waited for, and how many of them have not answered.
func (c *comparison) missing(answered map[string]bool) (awaited, missing int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.awaited {
		if !answered[id] {
			missing++
		}
	}
	return len(c.awaited), missing
}

// setLast stores that a server has answered now.
func (c *comparison) setLast() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
}

// quiet reports whether no server has answered anything for Timeout. If none has for
// CompareTimeout, those that have not answered are no longer waited for.
func (c *comparison) quiet(answered map[string]bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := time.Since(c.last)
	if since >= c.cfg.CompareTimeout {
		for id, name := range c.awaited {
			if !answered[id] {
				c.silent = append(c.silent, name)
				delete(c.awaited, id)
			}
		}
		slices.Sort(c.silent)
	}
	return since >= c.cfg.Timeout
}
