package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

const (
	// mostConnections is how many connections of an account a server lists. It is the
	// limit of connections of a server.
	mostConnections = 1 << 16

	// mostBacklogs is how many connections of an account a server lists, those with
	// the most unread bytes first.
	mostBacklogs = 256

	// listsAtOnce is how many lists of connections are requested at the same time.
	listsAtOnce = 16
)

// connection is a connection as a server lists it.
type connection struct {
	ID      uint64 `json:"cid"`
	User    string `json:"authorized_user"`
	Pending int64  `json:"pending_bytes"`
}

// Connections returns the open connections of all partners, by the names of their
// accounts, on all servers that answer. Servers returns which servers do not.
func (a *Accounts) Connections(ctx context.Context) (map[string][]tenancy.Connection, error) {
	all := make(map[string][]tenancy.Connection)
	list, err := a.connections(ctx, map[string]any{"auth": true, "limit": mostConnections})
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	for _, c := range list {
		all[c.Account] = append(all[c.Account], c.Connection)
	}
	return all, nil
}

// Backlogs returns connections of partners on all servers that answer, with the number
// of bytes that each has not read yet. Of an account with very many connections on a
// server it returns only those with the most.
func (a *Accounts) Backlogs(ctx context.Context) ([]tenancy.Backlog, error) {
	all, err := a.connections(ctx, map[string]any{"sort": "pending", "auth": true, "limit": mostBacklogs})
	if err != nil {
		return nil, fmt.Errorf("list connections by what they do not take: %w", err)
	}
	return all, nil
}

// connections asks each server for the connections of each partner's account that
// has any there.
//
// One request to each server for the connections of all accounts would do, but to
// answer it a server reads, without a lock, what a login may be writing (nats-server
// 2.15.3, default_sentinel). A connection is in the list of its account only after its
// login. An account that has connections is loaded, so that the request loads none.
func (a *Accounts) connections(ctx context.Context, question map[string]any) ([]tenancy.Backlog, error) {
	r, err := a.connection()
	if err != nil {
		return nil, err
	}
	// Without options a server lists the accounts that have connections, and does not answer
	// if there are none. A client that has not logged in yet counts for the global account.
	answers, resp, err := a.askThose(ctx, pingTraffic, []byte(`{}`), func(resp responders) int { return resp.occupied })
	if err != nil {
		return nil, err
	}
	a.remember(resp)
	var mu sync.Mutex
	var all []tenancy.Backlog
	var group errgroup.Group
	group.SetLimit(listsAtOnce)
	for _, answer := range answers {
		accounts, err := a.trafficOf(answer)
		if err != nil {
			return nil, err
		}
		for _, account := range accounts {
			if !a.ofPartner(account.Key, account.Name) {
				continue
			}
			group.Go(func() error {
				some, err := a.connectionsOf(ctx, r.nc, answer.server.ID, account.Key, question)
				mu.Lock()
				defer mu.Unlock()
				for _, c := range some {
					all = append(all, tenancy.Backlog{
						Connection: tenancy.Connection{Server: answer.server.ID, ID: c.ID, User: c.User},
						Account:    account.Name, Pending: uint64(max(0, c.Pending)),
					})
				}
				return err
			})
		}
	}
	err = group.Wait()
	return all, err
}

// connectionsOf asks a server for the connections of an account there. A server that no
// longer runs has none.
func (a *Accounts) connectionsOf(ctx context.Context, nc *nats.Conn, server, account string, question map[string]any) ([]connection, error) {
	own := maps.Clone(question) // other requests use it at the same time
	own["acc"] = account
	body, err := json.Marshal(own)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, fmt.Sprintf(listConnections, server), body)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask NATS server %s: %w", server, err)
	}
	var answered struct {
		Data struct {
			Connections []connection `json:"connections"`
		} `json:"data"`
	}
	if err := json.Unmarshal(msg.Data, &answered); err != nil {
		return nil, fmt.Errorf("read a NATS server's answer: %w", err)
	}
	return answered.Data.Connections, nil
}

// ofPartner reports whether the key and the name are those of a partner's account.
func (a *Accounts) ofPartner(key, name string) bool {
	id, ok := strings.CutPrefix(name, tenancy.AccountPrefix)
	return ok && key == a.cfg.Keys.PartnerAccount(id)
}

// Disconnect closes a connection. It returns nil if the connection is closed already.
func (a *Accounts) Disconnect(ctx context.Context, c tenancy.Connection) error {
	r, err := a.connection()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	// The answer says only whether there was such a connection.
	_, err = r.nc.RequestWithContext(ctx, fmt.Sprintf(kick, c.Server), fmt.Appendf(nil, `{"cid":%d}`, c.ID))
	if err != nil && !errors.Is(err, nats.ErrNoResponders) { // that server is gone, and its connections with it
		return fmt.Errorf("close a connection: %w", err)
	}
	return nil
}

// traffic is what an account sent and received on a server.
type traffic struct {
	Key      string `json:"acc"`
	Name     string `json:"name"`
	Sent     data   `json:"sent"`
	Received data   `json:"received"`
}

// data is an amount of traffic; Routes is the part of it between servers.
type data struct {
	Messages int64 `json:"msgs"`
	Bytes    int64 `json:"bytes"`
	Routes   *data `json:"routes"`
}

// ofClients returns the number of messages from and to clients, without those between
// servers.
func (d data) ofClients() uint64 {
	n := d.Messages
	if d.Routes != nil {
		n -= d.Routes.Messages
	}
	return uint64(max(0, n))
}

// Traffic returns for each server that answers how many messages it received from and
// sent to partners' accounts since it started, and how many bytes it sent to all
// accounts.
func (a *Accounts) Traffic(ctx context.Context) ([]tenancy.Traffic, error) {
	answers, _, err := a.askAll(ctx, pingTraffic, []byte(`{"include_unused":true}`))
	if err != nil {
		return nil, fmt.Errorf("look at what accounts send: %w", err)
	}
	var all []tenancy.Traffic
	for _, answer := range answers {
		accounts, err := a.trafficOf(answer)
		if err != nil {
			return nil, err
		}
		t := tenancy.Traffic{Server: answer.server.ID, Accounts: make(map[string]tenancy.Messages)}
		for _, account := range accounts {
			t.Bytes += uint64(max(0, account.Sent.Bytes))
			if a.ofPartner(account.Key, account.Name) {
				t.Accounts[account.Name] = tenancy.Messages{Received: account.Received.ofClients(), Sent: account.Sent.ofClients()}
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// trafficOf reads an answer to pingTraffic.
func (a *Accounts) trafficOf(answer answer) ([]traffic, error) {
	var r struct {
		Data struct {
			Accounts []traffic `json:"account_statz"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer.body, &r); err != nil {
		return nil, fmt.Errorf("read a NATS server's answer: %w", err)
	}
	return r.Data.Accounts, nil
}
