package natsd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"golang.org/x/mod/semver"
)

// OldestServer is the oldest version of nats-server that an Outside accepts unless it is
// configured otherwise. On 2.15.2 a partner can stop all servers with a few requests.
const OldestServer = "2.15.3"

// ErrOldServer is returned, wrapped, for a server whose version is too old.
var ErrOldServer = errors.New("the NATS server is too old")

// accept returns an ErrOldServer that names the server if its version is older than
// OutsideConfig.Oldest or is no version at all. A release candidate, such as 2.15.3-RC.1,
// is older than its release.
func (o *Outside) accept(name, version string) error {
	v := "v" + strings.TrimPrefix(version, "v")
	if semver.IsValid(v) && semver.Compare(v, "v"+o.cfg.Oldest) >= 0 {
		return nil
	}
	return fmt.Errorf("%w: server %q has version %q; upgrade it to %s or later", ErrOldServer, name, version, o.cfg.Oldest)
}

// begin checks the server of a connection that was opened just now. It returns an
// ErrOldServer if it, or another one of the cluster, is too old.
func (o *Outside) begin(role Role, nc *nats.Conn) error {
	// The keeper's connection may be opened again at any time, also while servers are
	// upgraded; the other two roles are for people.
	if role == Keeper || role == System || role == Operator {
		o.notice(role, nc)
		return nil
	}
	err := o.accept(nc.ConnectedServerName(), nc.ConnectedServerVersion())
	if err = cmp.Or(err, o.acceptOthers()); err != nil {
		return fmt.Errorf("connect to NATS as %s: %w", role, err)
	}
	return nil
}

// acceptOthers returns an ErrOldServer if one of the servers of the cluster is too old.
// Only a connection as Keeper can ask all of them. Without one, or if not all servers
// answer in time, the versions of the others stay unknown and it returns nil.
func (o *Outside) acceptOthers() error {
	own, err := o.cfg.Options(Keeper)
	if err != nil {
		return nil //nolint:nilerr // a program that only answers logins has no credentials of the keeper
	}
	keeper, err := nats.Connect(o.cfg.URL, append([]nats.Option{nats.Timeout(connectTimeout), nats.NoReconnect()}, own...)...)
	if err != nil {
		o.log.Debug("nats: the versions of the other servers are not known", "error", err)
		return nil
	}
	defer keeper.Close()
	ctx, cancel := context.WithTimeout(context.Background(), o.cfg.Timeout)
	defer cancel()
	inbox := keeper.NewInbox()
	answers, err := keeper.SubscribeSync(inbox)
	if err == nil {
		err = keeper.PublishRequest("$SYS.REQ.SERVER.PING.STATSZ", inbox, nil)
	}
	// Each server reports how many servers are active; the first answer says how many
	// more to wait for.
	for answered, active := 0, 1; err == nil && answered < active; answered++ {
		var s serverReport
		if s, err = nextReport(ctx, answers); err == nil {
			if err := o.accept(s.Server.Name, s.Server.Version); err != nil {
				return err
			}
			active = max(active, s.Statistics.ActiveServers)
		}
	}
	if err != nil {
		o.log.Debug("nats: the versions of the other servers are not known", "error", err)
	}
	return nil
}

// serverReport is the part of a server's report about itself that is used here.
type serverReport struct {
	Server struct {
		Name    string `json:"name"`
		Version string `json:"ver"`
	} `json:"server"`
	Statistics struct {
		ActiveServers int `json:"active_servers"`
	} `json:"statsz"`
}

// nextReport waits for the next answer and reads it.
func nextReport(ctx context.Context, answers *nats.Subscription) (r serverReport, err error) {
	msg, err := answers.NextMsgWithContext(ctx)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(msg.Data, &r); err != nil {
		return r, fmt.Errorf("read a NATS server's answer: %w", err)
	}
	return r, nil
}

// notice checks the server that a connection has come to. It stores the result for TooOld,
// and logs a warning if the server is too old. The connection is used all the same, so
// that the servers of a cluster can be upgraded one after the other while the program runs.
func (o *Outside) notice(role Role, nc *nats.Conn) {
	err := o.accept(nc.ConnectedServerName(), nc.ConnectedServerVersion())
	o.old.set(nc, err)
	if err != nil {
		o.log.Warn("nats: connected all the same", "role", role, "error", err)
	}
}

// oldServers are the results of notice.
type oldServers struct {
	mu sync.Mutex
	by map[*nats.Conn]error // the ErrOldServer of each open connection to a server that is too old
}

// set stores the result for a connection in place of its former one. Nil: its server is new
// enough, or it is closed.
func (o *oldServers) set(nc *nats.Conn, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		delete(o.by, nc)
		return
	}
	if o.by == nil {
		o.by = make(map[*nats.Conn]error)
	}
	o.by[nc] = err
}

// all returns the errors joined, each text once, or nil if there are none.
func (o *oldServers) all() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	byText := make(map[string]error)
	for _, err := range o.by {
		byText[err.Error()] = err
	}
	var errs []error
	for _, text := range slices.Sorted(maps.Keys(byText)) {
		errs = append(errs, byText[text])
	}
	return errors.Join(errs...)
}
