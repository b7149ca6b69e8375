package natsd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// SetAccount makes the partner's account let through exactly what a describes:
// what it had before and is not in a ends at once. Accounts do not outlast the
// server.
//
// What the service's account exports to it stays exported, until the server
// ends: the server has no way to undo that. Without an import in the partner's
// account, which only this method creates, it has no effect.
func (s *Server) SetAccount(_ context.Context, a tenancy.Account) error {
	if id, ok := strings.CutPrefix(a.Name, tenancy.AccountPrefix); !ok || !events.ValidPartnerID(id) {
		return events.Errorf(events.Invalid, "%q is not the account of a partner", a.Name)
	}
	s.accounts.Lock()
	defer s.accounts.Unlock()
	app, err := s.nats.LookupAccount(AccountApp)
	if err != nil {
		return fmt.Errorf("look up account %s: %w", AccountApp, err)
	}
	partner, _ := s.nats.LookupOrRegisterAccount(a.Name)
	if err := s.export(app, partner, a); err != nil {
		return fmt.Errorf("export to account %s: %w", a.Name, err)
	}
	s.nats.UpdateAccountClaims(partner, claims(a))
	if err := imported(app, partner, a); err != nil {
		return fmt.Errorf("import to account %s: %w", a.Name, err)
	}
	return nil
}

// export exports what a lets through, to that account alone. A service is exported only
// once: another time would write to fields of it that the timers of late answers read.
func (s *Server) export(app, partner *server.Account, a tenancy.Account) error {
	only := []*server.Account{partner}
	for _, service := range a.Services {
		offer := a.Name + " " + service.Subject
		if s.exported[offer] {
			continue
		}
		kind := server.Singleton
		if service.Streamed {
			kind = server.Streamed
		}
		if err := app.AddServiceExportWithResponse(service.Subject, kind, only); err != nil {
			return fmt.Errorf("%s: %w", service.Subject, err)
		}
		if !service.Streamed {
			if err := app.SetServiceExportResponseThreshold(service.Subject, tenancy.AnswerWithin); err != nil {
				return fmt.Errorf("%s: %w", service.Subject, err)
			}
		}
		s.exported[offer] = true
	}
	for _, subject := range a.Streams {
		if err := app.AddStreamExport(subject, only); err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
	}
	return nil
}

// claims returns imports, mapping and limits as claims, with which the server replaces
// those that an account has.
func claims(a tenancy.Account) *jwt.AccountClaims {
	c := jwt.NewAccountClaims(a.Name)
	c.Limits.Conn = int64(a.Limits.Connections)
	c.Limits.Subs = int64(a.Limits.Subscriptions)
	c.Limits.Payload = int64(a.Limits.Payload)
	c.Limits.LeafNodeConn = 0
	for _, service := range a.Services {
		c.Imports.Add(&jwt.Import{
			Type: jwt.Service, Account: AccountApp,
			Subject: jwt.Subject(service.Subject), LocalSubject: jwt.RenamingSubject(service.Import),
		})
	}
	if m := a.Mapping; m.From != "" {
		c.AddMapping(jwt.Subject(m.From), jwt.WeightedMapping{Subject: jwt.Subject(m.To), Weight: 100})
	}
	for _, subject := range a.Streams {
		c.Imports.Add(&jwt.Import{Type: jwt.Stream, Account: AccountApp, Subject: jwt.Subject(subject)})
	}
	return c
}

// imported returns an error for an import that is missing. The server only logs those that
// it could not add, so they are added once more: one that exists is refused as a duplicate.
func imported(app, partner *server.Account, a tenancy.Account) error {
	for _, service := range a.Services {
		err := partner.AddServiceImport(app, service.Import, service.Subject)
		if err != nil && !strings.Contains(err.Error(), "duplicate") {
			return fmt.Errorf("%s: %w", service.Import, err)
		}
	}
	for _, subject := range a.Streams {
		err := partner.AddStreamImport(app, subject, "")
		if err != nil && !errors.Is(err, server.ErrStreamImportDuplicate) {
			return fmt.Errorf("%s: %w", subject, err)
		}
	}
	return nil
}

// Connections returns the open connections of a partner's account.
func (s *Server) Connections(_ context.Context, account string) ([]tenancy.Connection, error) {
	list, err := s.nats.Connz(&server.ConnzOptions{Account: account, Username: true, Limit: mostConnections})
	if err != nil {
		return nil, fmt.Errorf("list connections of account %s: %w", account, err)
	}
	all := make([]tenancy.Connection, 0, len(list.Conns))
	for _, c := range list.Conns {
		all = append(all, tenancy.Connection{Server: list.ID, ID: c.Cid, User: c.AuthorizedUser})
	}
	return all, nil
}

// Backlogs returns the connections that leave most unread, with how much.
func (s *Server) Backlogs(context.Context) ([]tenancy.Backlog, error) {
	list, err := s.nats.Connz(&server.ConnzOptions{Sort: server.ByPending, Username: true, Limit: mostBacklogs})
	if err != nil {
		return nil, fmt.Errorf("list connections by what they leave unread: %w", err)
	}
	all := make([]tenancy.Backlog, 0, len(list.Conns))
	for _, c := range list.Conns {
		all = append(all, tenancy.Backlog{
			Connection: tenancy.Connection{Server: list.ID, ID: c.Cid, User: c.AuthorizedUser}, Account: c.Account, Pending: uint64(max(0, c.Pending)),
		})
	}
	return all, nil
}

// Traffic returns what was sent and received so far.
func (s *Server) Traffic(context.Context) ([]tenancy.Traffic, error) {
	stats, err := s.nats.AccountStatz(&server.AccountStatzOptions{IncludeUnused: true})
	if err != nil {
		return nil, fmt.Errorf("read the traffic of accounts: %w", err)
	}
	return []tenancy.Traffic{traffic(stats.ID, stats.Accounts)}, nil
}

// traffic returns what went between a server and its clients.
func traffic(id string, accounts []*server.AccountStat) tenancy.Traffic {
	t := tenancy.Traffic{Server: id, Accounts: make(map[string]tenancy.Messages, len(accounts))}
	for _, a := range accounts {
		t.Accounts[a.Account] = tenancy.Messages{Received: ofClients(a.Received), Sent: ofClients(a.Sent)}
		t.Bytes += uint64(max(0, a.Sent.Bytes))
	}
	return t
}

// ofClients leaves out what went between servers.
func ofClients(d server.DataStats) uint64 {
	n := d.Msgs
	if d.Routes != nil {
		n -= d.Routes.Msgs
	}
	return uint64(max(0, n))
}

// Disconnect closes a connection. One that is closed already is no error.
func (s *Server) Disconnect(_ context.Context, c tenancy.Connection) error {
	if c.Server == s.nats.ID() {
		_ = s.nats.DisconnectClientByID(c.ID) // the only error: there is none with this id
	}
	return nil
}
