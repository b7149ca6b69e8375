package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

const (
	// mostConnections is the servers' own limit.
	mostConnections = 1 << 16

	// mostBacklogs is how many connections are looked at that do not take what is
	// sent: those of 16 partners at one time.
	mostBacklogs = 256
)

// connection is a connection as a server lists it.
type connection struct {
	ID      uint64 `json:"cid"`
	User    string `json:"authorized_user"`
	Account string `json:"account"`
	Name    string `json:"name_tag"` // of the account
	Pending int64  `json:"pending_bytes"`
}

// Connections returns the open connections of all partners, by the names of their
// accounts, on all servers that answer. Servers returns which do not.
func (a *Accounts) Connections(ctx context.Context) (map[string][]tenancy.Connection, error) {
	all := make(map[string][]tenancy.Connection)
	err := a.connections(ctx, map[string]any{"auth": true, "limit": mostConnections}, func(c tenancy.Backlog) {
		all[c.Account] = append(all[c.Account], c.Connection)
	})
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return all, nil
}

// Backlogs returns the connections of partners that do not take most, with how
// much, on all servers that answer.
func (a *Accounts) Backlogs(ctx context.Context) ([]tenancy.Backlog, error) {
	var all []tenancy.Backlog
	err := a.connections(ctx, map[string]any{"sort": "pending", "auth": true, "limit": mostBacklogs}, func(c tenancy.Backlog) {
		all = append(all, c)
	})
	if err != nil {
		return nil, fmt.Errorf("list connections by what they do not take: %w", err)
	}
	return all, nil
}

func (a *Accounts) connections(ctx context.Context, question any, add func(tenancy.Backlog)) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	answers, c, err := a.askAll(ctx, pingConnections, body)
	if err != nil {
		return err
	}
	a.note(c)
	for _, answer := range answers {
		var r struct {
			Data struct {
				Connections []connection `json:"connections"`
			} `json:"data"`
		}
		if err := json.Unmarshal(answer.body, &r); err != nil {
			return fmt.Errorf("read a NATS server's answer: %w", err)
		}
		for _, c := range r.Data.Connections {
			if a.ofPartner(c.Account, c.Name) {
				add(tenancy.Backlog{
					Connection: tenancy.Connection{Server: answer.server.ID, ID: c.ID, User: c.User}, Account: c.Name, Pending: uint64(max(0, c.Pending)),
				})
			}
		}
	}
	return nil
}

// ofPartner reports whether the key and the name are those of a partner's account.
func (a *Accounts) ofPartner(key, name string) bool {
	id, ok := strings.CutPrefix(name, tenancy.AccountPrefix)
	return ok && key == a.cfg.Keys.PartnerAccount(id)
}

// Disconnect closes a connection. One that is closed already is no error.
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

type data struct {
	Messages int64 `json:"msgs"`
	Bytes    int64 `json:"bytes"`
	Routes   *data `json:"routes"`
}

// ofClients leaves out what went between servers.
func (d data) ofClients() uint64 {
	n := d.Messages
	if d.Routes != nil {
		n -= d.Routes.Messages
	}
	return uint64(max(0, n))
}

// Traffic returns what partners sent and received so far, on all servers that
// answer.
func (a *Accounts) Traffic(ctx context.Context) ([]tenancy.Traffic, error) {
	answers, _, err := a.askAll(ctx, pingTraffic, []byte(`{"include_unused":true}`))
	if err != nil {
		return nil, fmt.Errorf("look at what accounts send: %w", err)
	}
	var all []tenancy.Traffic
	for _, answer := range answers {
		var r struct {
			Data struct {
				Accounts []traffic `json:"account_statz"`
			} `json:"data"`
		}
		if err := json.Unmarshal(answer.body, &r); err != nil {
			return nil, fmt.Errorf("read a NATS server's answer: %w", err)
		}
		t := tenancy.Traffic{Server: answer.server.ID, Accounts: make(map[string]tenancy.Messages)}
		for _, account := range r.Data.Accounts {
			t.Bytes += uint64(max(0, account.Sent.Bytes))
			if a.ofPartner(account.Key, account.Name) {
				t.Accounts[account.Name] = tenancy.Messages{Received: account.Received.ofClients(), Sent: account.Sent.ofClients()}
			}
		}
		all = append(all, t)
	}
	return all, nil
}
