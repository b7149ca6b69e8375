package partners

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Accounts are partners' accounts on the NATS servers, which store them.
type Accounts interface {
	// SetAccount has all servers store the account. An operator.UnansweredError names
	// the servers that have not answered; all others store the account then.
	SetAccount(ctx context.Context, a tenancy.Account) error
	// Compare has all servers store exactly these accounts, where they do not yet. It
	// must not run at the same time as SetAccount.
	Compare(ctx context.Context, accounts iter.Seq[tenancy.Account]) error
	// Servers returns which servers answer, which do not, and which are behind: they may
	// store other accounts than they should until Compare has succeeded.
	Servers(ctx context.Context) (operator.Servers, error)
}

// Receipts store how far partners have read, so that it is known even after the servers have
// lost their consumers. The implementation must delete the receipts of a grant that is
// withdrawn: a study that is granted again starts from its first event.
type Receipts interface {
	NoteReceipts(ctx context.Context, receipts []events.Receipt) error
	Receipts(ctx context.Context) ([]events.Receipt, error)
}

// Config holds optional settings.
type Config struct {
	AckWait       time.Duration // until an event that was not acknowledged is delivered again. Defaults to 30 s.
	MaxAckPending int           // events of a consumer that are not acknowledged. Defaults to 1000.

	// MaxConsumers is how many consumers partners may have together: each has one,
	// and one for each study granted. Further ones are not created, and Status names
	// them; consumers that exist stay. Defaults to DefaultMaxConsumers.
	MaxConsumers int

	// Replicas is how many servers of a cluster hold each consumer, at most as many
	// as hold the stream. Defaults to those of the stream.
	Replicas int

	// Absent is how long the Reconciler waits for a consumer whose server is gone, before
	// it creates the consumer again on another server. Defaults to 10 s.
	Absent time.Duration

	// Interval between two rounds over all consumers and connections. Defaults to 3 s.
	Interval time.Duration

	// CompareInterval is the least time between two comparisons of all accounts with what
	// the servers store. If a comparison takes long, the time is twenty times its duration.
	// Defaults to 30 s.
	CompareInterval time.Duration

	Clock func() time.Time // Defaults to time.Now.
	Log   *slog.Logger     // Defaults to slog.Default().

	withdrawTimeout time.Duration // of a request that withdraws something; tests may wait longer
}

func (c Config) withDefaults() Config {
	c.AckWait = cmp.Or(c.AckWait, 30*time.Second)
	c.MaxAckPending = cmp.Or(c.MaxAckPending, 1000)
	c.MaxConsumers = cmp.Or(c.MaxConsumers, DefaultMaxConsumers)
	c.Absent = cmp.Or(c.Absent, 10*time.Second)
	c.Interval = cmp.Or(c.Interval, 3*time.Second)
	c.CompareInterval = cmp.Or(c.CompareInterval, 30*time.Second)
	c.Log = cmp.Or(c.Log, slog.Default())
	c.withdrawTimeout = cmp.Or(c.withdrawTimeout, withdrawTimeout)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// Reconciler keeps accounts, consumers and receipts in step with the directory. An
// installation runs one.
type Reconciler struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	servers   Accounts
	directory callout.DirectorySource
	receipts  Receipts
	callout   *callout.Callout
	enforcer  *callout.Enforcer
	cfg       Config

	metrics *metrics
	status  status
	again   chan struct{} // asks Run for another round; buffered

	// The rest belongs to Run.
	started       bool                      // the first round has ended: the accounts and connections of all partners were checked
	stream        streamState               // at the last round
	consumers     map[string]*consumerState // of partners, by name
	foreign       map[string]bool           // by name: listed consumers that are not partners'
	usage         map[string]uint64         // by partner: what it was charged at the last round
	triedAll      bool                      // a round has tried to set up what each partner is granted
	capacity      capacity                  // which consumers may not be created in this round
	resizeRefusal string                    // why servers refused to change the replicas of consumers, at the last round
	accounts      map[string]*accountState  // by partner; no entry: closed, or not known to be stored
	changes       map[string]int            // by partner: number of the last change of its account
	lastChange    int                       // number of the last change of any account
	nextCompare   time.Time                 // when the accounts are compared again
	recheckUntil  map[string]time.Time      // by partner: until then its connections are checked often
	revoked       []string                  // the token keys that were revoked when all connections were last checked
	acknowledged  map[string]uint64         // by consumer: stream sequence up to which all was acknowledged
	storedReceipt map[string]events.Receipt // by consumer: the last that was stored
}

// New returns a Reconciler on a connection that may create consumers. The Reconciler starts
// and stops the Callout, decides which studies its logins open, and has the Enforcer close
// the connections that have more than is granted.
func New(
	nc *nats.Conn, servers Accounts, directory callout.DirectorySource, receipts Receipts,
	logins *callout.Callout, enforcer *callout.Enforcer, cfg Config,
) (*Reconciler, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	r := &Reconciler{
		nc: nc, js: js, servers: servers, directory: directory, receipts: receipts, callout: logins, enforcer: enforcer,
		cfg: cfg.withDefaults(), again: make(chan struct{}, 1),
		consumers: make(map[string]*consumerState), foreign: make(map[string]bool), accounts: make(map[string]*accountState), changes: make(map[string]int),
		recheckUntil: make(map[string]time.Time), acknowledged: make(map[string]uint64), storedReceipt: make(map[string]events.Receipt),
	}
	r.metrics = newMetrics(r)
	r.status.set(errNotStarted)
	return r, nil
}
