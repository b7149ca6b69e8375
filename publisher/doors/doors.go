package doors

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// Accounts are partners' accounts on the broker. An account of which SetAccount
// has not been told since the broker started lets nothing through.
type Accounts interface {
	// SetAccount makes the account let through exactly what is given.
	SetAccount(ctx context.Context, a events.Account) error
	// Connections returns the open connections of an account.
	Connections(ctx context.Context, account string) ([]events.Connection, error)
	// Traffic returns what went between each server and its clients so far, partners
	// and others.
	Traffic(ctx context.Context) ([]events.Traffic, error)
	// Backlogs returns the connections for which most is waiting that they do not
	// take, partners' and others.
	Backlogs(ctx context.Context) ([]events.Backlog, error)
	// Disconnect closes a connection. One that is closed already is no error.
	Disconnect(ctx context.Context, c events.Connection) error
}

// Log says who may see what.
type Log interface {
	// Directory returns what is known now. It never goes back, but for what must end
	// before that is on the log.
	Directory() access.Directory
	// Changed receives when the directory may be another one. It has room for
	// one, so nothing is missed between two looks.
	Changed() <-chan struct{}
	// WaitFor returns nil once the directory holds all up to that message of the
	// stream, or the cause for which ctx ended.
	WaitFor(ctx context.Context, sequence uint64) error
}

// Receipts keep how far consumers got where it outlasts the broker. Those of a
// grant that was withdrawn must be forgotten there: a study that is granted
// again starts from its first event.
type Receipts interface {
	NoteReceipts(ctx context.Context, receipts []events.Receipt) error
	Receipts(ctx context.Context) ([]events.Receipt, error)
}

// Config holds what may be left out.
type Config struct {
	// Limits of each partner. Default to 16 connections, of each
	// events.PartnerSubscriptions subscriptions and messages of 16 KiB.
	Limits events.AccountLimits

	// Rate and Burst bound what a partner sends and asks for. Default to events.PartnerRate
	// and events.PartnerBurst.
	Rate, Burst int

	// MaxPending bounds the bytes that wait in the broker's memory for the connections of a
	// partner. Beyond it the slowest are closed. Defaults to 32 MiB: what is sent to our
	// clients at one time, 256 events, if each has 128 KiB. A single connection is closed by
	// the broker itself at 64 MiB.
	MaxPending int

	AckWait       time.Duration // until an event is delivered again. Defaults to 30 s.
	MaxAckPending int           // events of a consumer on their way. Defaults to 1000.

	// MaxConsumers is how many consumers partners may have together: each has one,
	// and one for each study granted. What is beyond is refused by name; what is
	// there stays. Defaults to DefaultMaxConsumers.
	MaxConsumers int

	// Replicas is how many servers of a cluster hold each consumer, at most as many
	// as hold the stream. Defaults to those of the stream.
	Replicas int

	// Absent is for how long a consumer may not answer whose server is gone, before
	// it is made anew on another one. Defaults to 10 s.
	Absent time.Duration

	// Interval between looks at all consumers and connections. Defaults to 3 s.
	Interval time.Duration

	// Watch is the time between looks at what partners send. Defaults to 100 ms.
	Watch time.Duration

	Clock func() time.Time // Defaults to time.Now.
	Log   *slog.Logger     // Defaults to slog.Default().
}

// DefaultLimits are those of each partner.
func DefaultLimits() events.AccountLimits { return Config{}.withDefaults().Limits }

func (c Config) withDefaults() Config {
	c.Limits.Connections = cmp.Or(c.Limits.Connections, 16)
	c.Limits.Subscriptions = cmp.Or(c.Limits.Subscriptions, events.PartnerSubscriptions)
	c.Limits.Payload = cmp.Or(c.Limits.Payload, 16<<10)
	c.Rate = cmp.Or(c.Rate, events.PartnerRate)
	c.Burst = cmp.Or(c.Burst, events.PartnerBurst)
	c.MaxPending = cmp.Or(c.MaxPending, 32<<20)
	c.AckWait = cmp.Or(c.AckWait, 30*time.Second)
	c.MaxAckPending = cmp.Or(c.MaxAckPending, 1000)
	c.MaxConsumers = cmp.Or(c.MaxConsumers, DefaultMaxConsumers)
	c.Absent = cmp.Or(c.Absent, 10*time.Second)
	c.Interval = cmp.Or(c.Interval, 3*time.Second)
	c.Watch = cmp.Or(c.Watch, 100*time.Millisecond)
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// Doors are the doors of one installation. One runs; others may answer logins
// beside it, on the same log: each login is answered by one of them.
type Doors struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	accounts Accounts
	log      Log
	receipts Receipts
	issuer   nkeys.KeyPair
	cfg      Config

	tokens   access.Verifier
	failures *access.SignIns // wrong secrets, by client and place
	metrics  *metrics
	status   status

	allowance *allowance
	impatient impatient
	backlog   backlog       // belongs to who watches traffic
	again     chan struct{} // asks Run to look again; room for one

	// gate is held for reading while a login is answered: who has held it for
	// writing knows that all later answers follow what was written.
	gate     sync.RWMutex
	admitted map[string][]string // by partner: tokens of the studies that logins open
	beside   beside

	// What follows belongs to Run alone.
	stream    streamState               // at the last look
	stock     map[string]*entry         // consumers of partners, by name
	foreign   map[string]bool           // consumers of others, by name
	spent     map[string]uint64         // by partner: what it was charged at the last look
	room      room                      // for consumers
	kept      string                    // why consumers could not get another number of replicas
	accounted map[string]*held          // by partner; without an entry nothing is let through
	watched   map[string]time.Time      // by partner: until then its connections are looked at often
	floors    map[string]uint64         // by consumer: all up to here was acknowledged
	noted     map[string]events.Receipt // by consumer, as last told to Receipts
}

// New makes doors on a connection with the rights to make consumers and to
// answer logins. The seed is that of the account nkey that the broker knows as
// the issuer of logins.
func New(nc *nats.Conn, accounts Accounts, log Log, receipts Receipts, seed []byte, cfg Config) (*Doors, error) {
	if _, err := IssuerKey(seed); err != nil {
		return nil, err
	}
	issuer, err := nkeys.FromSeed(seed)
	if err != nil {
		return nil, errNoSeed
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open doors: %w", err)
	}
	d := &Doors{
		nc: nc, js: js, accounts: accounts, log: log, receipts: receipts, issuer: issuer, cfg: cfg.withDefaults(),
		admitted: make(map[string][]string), failures: access.NewSignIns(access.SlowedSignIns),
		stock: make(map[string]*entry), foreign: make(map[string]bool), accounted: make(map[string]*held), watched: make(map[string]time.Time),
		floors: make(map[string]uint64), noted: make(map[string]events.Receipt),
		impatient: impatient{until: make(map[string]time.Time)}, again: make(chan struct{}, 1),
	}
	d.allowance = newAllowance(d.cfg.Rate, d.cfg.Burst)
	d.metrics = newMetrics(d)
	d.status.set(errNotStarted)
	return d, nil
}
