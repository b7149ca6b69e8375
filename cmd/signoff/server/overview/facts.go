package overview

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/outbox/review"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// Sources are the parts of the program from which the facts are read. All are required.
type Sources struct {
	Outbox Outbox
	Queue  interface {
		Queue(context.Context, review.QueueFilter) ([]review.QueuedCase, error)
	}
	Receipts interface {
		Lags(context.Context) ([]receipts.Lag, error)
	}
	Publisher   interface{ Status() publisher.Status }
	ReadModel   interface{ Status() readmodel.Status }
	Connections interface {
		ConnectionCounts(context.Context) (map[string]int, error)
	}

	// Findings returns the conditions in /readyz that do not hold.
	Findings func(context.Context) []Finding
}

// Outbox is the part of an outbox.Outbox that is read.
type Outbox interface {
	Status(context.Context) (outbox.Status, error)
	Recent(ctx context.Context, limit int) ([]outbox.RecentEvent, error)
	Audit(context.Context, outbox.AuditFilter, func(outbox.AuditEntry) error) error
	Watch() (changed <-chan struct{}, stop func())
}

// Facts are what the page shows and /overview.json contains.
type Facts struct {
	At       time.Time `json:"at"`
	Started  time.Time `json:"started"`
	State    State     `json:"state"`    // the worst of all parts
	Sentence string    `json:"sentence"` // what the state is, in words
	Detail   string    `json:"detail"`   // what else is to be known

	Recorded  uint64 `json:"recorded"`  // events in the outbox
	Published uint64 `json:"published"` // stream sequence of the last event that is published
	Applied   uint64 `json:"applied"`   // stream sequence up to which the read API answers

	Outbox    OutboxFacts    `json:"outbox"`
	Publisher PublisherFacts `json:"publisher"`
	ReadModel ReadModelFacts `json:"readModel"`

	// Unread names the parts that could not be read: outbox, recent events, partners or
	// incidents. The fields of such a part are not complete. Findings has the reasons.
	Unread []string `json:"unread,omitempty"`

	Findings  []Finding  `json:"findings"`
	Parked    []Parked   `json:"parked"`
	Partners  []Partner  `json:"partners"`  // one for each partner and study granted
	Recent    []Event    `json:"recent"`    // the last one first
	Incidents []Incident `json:"incidents"` // of the last 7 days, the last one first
}

// State is how urgent something is.
type State string

// The states.
const (
	OK   State = "ok"
	Warn State = "warn" // somebody has to look
	Bad  State = "bad"  // something does not reach the partners
)

// worse returns the worse one of two states.
func worse(a, b State) State {
	if a == Bad || b == OK {
		return a
	}
	return b
}

// OutboxFacts are what is stored in the outbox.
type OutboxFacts struct {
	Assessments    int       `json:"assessments"`
	Available      int       `json:"available"` // reports
	Unpublished    uint64    `json:"unpublished"`
	Oldest         time.Time `json:"oldestUnpublished,omitzero"`
	Waiting        int       `json:"waiting"`
	WaitingStudies int       `json:"waitingStudies"`
	OldestWaiting  time.Time `json:"oldestWaiting,omitzero"` // when the version was registered that waits longest
}

// PublisherFacts are what the publisher does.
type PublisherFacts struct {
	State          publisher.State `json:"state"`
	Since          time.Time       `json:"since,omitzero"`
	Reason         string          `json:"reason,omitempty"`
	StreamSequence uint64          `json:"streamSequence"`     // of the last event that it published
	LastEvent      time.Time       `json:"lastEvent,omitzero"` // time of the last event that is published
}

// ReadModelFacts are what the read model does.
type ReadModelFacts struct {
	State    readmodel.State `json:"state"`
	Reason   string          `json:"reason,omitempty"`
	CaughtUp bool            `json:"caughtUp"`
	Behind   uint64          `json:"behind"`         // events that are published and not applied
	Heard    time.Time       `json:"heard,omitzero"` // when the stream was last read
}

// Finding is a condition in /readyz that does not hold.
type Finding struct {
	Name   string `json:"name"`
	Text   string `json:"text"`
	Blocks bool   `json:"blocks"` // the server is not ready because of it
}

// Parked is a study whose events are not published.
type Parked struct {
	Study            string    `json:"study"`
	Since            time.Time `json:"since"`
	FirstEvent       uint64    `json:"firstEvent"` // study number of the first event that is not published
	Reason           string    `json:"reason"`
	ReleaseRequested bool      `json:"releaseRequested"`
	Command          string    `json:"command"` // that releases the study, once the cause is repaired
}

// Partner is what a partner has received of a study.
type Partner struct {
	Partner      string    `json:"partner"`
	Study        string    `json:"study"`
	Last         uint64    `json:"last"` // study number of the study's last event, as the following are
	Delivered    uint64    `json:"delivered"`
	Acknowledged uint64    `json:"acknowledged"`
	Behind       uint64    `json:"behind"`         // events that are not acknowledged
	Since        time.Time `json:"since,omitzero"` // since when the partner could have had the first of them
	Connections  *int      `json:"connections"`    // of the partner to NATS; null if not known
}

// Event is an event without its body.
type Event struct {
	Time           time.Time   `json:"time"`
	Study          string      `json:"study"`
	Number         uint64      `json:"number"`
	Kind           events.Kind `json:"kind"`
	StreamSequence uint64      `json:"streamSequence"` // 0 while it is not published
}

// The parts that are read by themselves.
const (
	partOutbox    = "outbox"
	partRecent    = "recent events"
	partPartners  = "partners"
	partIncidents = "incidents"
)

// Lacks reports whether a part could not be read.
func (f Facts) Lacks(part string) bool { return slices.Contains(f.Unread, part) }

// mostRecent is how many events are shown. Of the program's own events, only changes of
// access are.
const mostRecent = 12

// searched is how many events are read to find those. The second number is used if too few
// are found: when nothing is signed for a long time, most events are those of the audit trail.
var searched = []int{200, 1000}

// readFacts reads all facts. What cannot be read becomes a finding, so that the page still
// shows the rest.
func (o *Overview) readFacts(ctx context.Context) Facts {
	f := Facts{
		At: o.cfg.Clock().UTC(), Started: o.started.UTC(),
		Findings: []Finding{}, Parked: []Parked{}, Partners: []Partner{}, Recent: []Event{}, Incidents: []Incident{},
	}
	// The conditions are checked at the same time, because one may wait for a lock.
	conditions := make(chan []Finding, 1)
	go func() { conditions <- o.sources.Findings(ctx) }()
	var unread []Finding
	for _, part := range []struct {
		name string
		read func(context.Context, *Facts) error
	}{
		{partOutbox, o.readOutbox},
		{partRecent, o.readRecent},
		{partPartners, o.readPartners},
		{partIncidents, o.readIncidents},
	} {
		if err := part.read(ctx, &f); err != nil {
			f.Unread = append(f.Unread, part.name)
			unread = append(unread, Finding{Name: part.name, Text: "cannot be read: " + withoutPlaces(err.Error()), Blocks: part.name == partOutbox})
		}
	}
	p := o.sources.Publisher.Status()
	f.Publisher.State, f.Publisher.Since, f.Publisher.Reason, f.Publisher.StreamSequence = p.State, p.Since.UTC(), withoutPlaces(p.Reason), p.StreamSequence
	m := o.sources.ReadModel.Status()
	f.Applied = m.Position.StreamSequence
	f.ReadModel = ReadModelFacts{State: m.State, Reason: withoutPlaces(m.Reason), CaughtUp: m.CaughtUp, Behind: m.Lag, Heard: m.Heard.UTC()}
	for _, found := range <-conditions {
		found.Text = withoutPlaces(found.Text)
		f.Findings = append(f.Findings, found)
	}
	f.Findings = append(f.Findings, unread...)
	f.Summarize()
	return f
}

// readOutbox reads what the outbox contains.
func (o *Overview) readOutbox(ctx context.Context, f *Facts) error {
	s, err := o.sources.Outbox.Status(ctx)
	if err != nil {
		return err
	}
	f.Recorded, f.Published = s.Events, s.StreamSequence
	f.Outbox = OutboxFacts{
		Assessments: s.Assessments, Available: s.Available, Unpublished: s.Unpublished, Oldest: s.Oldest,
		Waiting: s.Waiting, WaitingStudies: s.WaitingStudies,
	}
	for _, p := range s.Parked {
		f.Parked = append(f.Parked, Parked{
			Study: p.Study, Since: p.Since, FirstEvent: p.Sequence, Reason: withoutPlaces(p.Reason),
			ReleaseRequested: p.ReleaseRequested, Command: releaseCommand(p),
		})
	}
	if s.Waiting == 0 {
		return nil
	}
	studies := make([]string, len(s.Studies))
	for i, study := range s.Studies {
		studies[i] = study.Study
	}
	first, err := o.sources.Queue.Queue(ctx, review.QueueFilter{Studies: studies, Limit: 1})
	if len(first) > 0 {
		f.Outbox.OldestWaiting = first[0].Oldest
	}
	return err
}

// plainWord matches what needs no quotes in a shell and is no flag.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// releaseCommand returns the command that releases the study. It has the study key if the
// id would need quotes.
func releaseCommand(p outbox.ParkedStudy) string {
	switch {
	case plainWord.MatchString(p.Study):
		return "signoff release " + p.Study
	case plainWord.MatchString(p.StudyKey):
		return "signoff release " + p.StudyKey
	default: // it begins with a hyphen
		return "signoff release -- " + p.StudyKey
	}
}

// readRecent reads the latest events.
func (o *Overview) readRecent(ctx context.Context, f *Facts) error {
	for _, limit := range searched {
		recent, err := o.sources.Outbox.Recent(ctx, limit)
		if err != nil {
			return err
		}
		f.Recent = f.Recent[:0]
		for _, e := range recent {
			if e.StreamSequence != 0 && e.Time.After(f.Publisher.LastEvent) {
				f.Publisher.LastEvent = e.Time
			}
			if kind := events.Kind(e.Kind); kind != events.AccessAudited && len(f.Recent) < mostRecent {
				f.Recent = append(f.Recent, Event{Time: e.Time, Study: e.Study, Number: e.Number, Kind: kind, StreamSequence: e.StreamSequence})
			}
		}
		if len(recent) < limit || len(f.Recent) == mostRecent && !f.Publisher.LastEvent.IsZero() {
			return nil
		}
	}
	return nil
}

// connectionsEvery is how often NATS servers are asked for connections at most: each is
// asked once for each partner that has any.
const connectionsEvery = 5 * time.Second

// connections are the numbers of connections that were read last.
type connections struct {
	read  time.Time
	count map[string]int // by partner; nil if not known
}

// readPartners reads what the partners have received.
func (o *Overview) readPartners(ctx context.Context, f *Facts) error {
	lags, err := o.sources.Receipts.Lags(ctx)
	if err != nil {
		return err
	}
	if c := &o.connections; len(lags) > 0 && (c.read.IsZero() || f.At.Sub(c.read) >= connectionsEvery) {
		c.read = f.At
		if c.count, err = o.sources.Connections.ConnectionCounts(ctx); err != nil {
			c.count = nil
			o.cfg.Log.Debug("cannot count the partners' connections", "error", err)
		}
	}
	for _, l := range lags {
		if events.InternalStudy(l.Study) {
			continue
		}
		p := Partner{
			Partner: l.Partner, Study: l.Study, Last: l.Last,
			Delivered: l.Delivered, Acknowledged: l.Acknowledged, Behind: l.Behind, Since: l.Since,
		}
		if o.connections.count != nil {
			n := o.connections.count[l.Partner]
			p.Connections = &n
		}
		f.Partners = append(f.Partners, p)
	}
	return nil
}

// filePath matches the path of a file, but not a path of this listener such as /readyz.
var filePath = regexp.MustCompile(`(?:[A-Za-z0-9._-]*/){2,}[A-Za-z0-9._-]+|[A-Za-z0-9._-]+/[A-Za-z0-9._-]+\.[a-z]+|/[A-Za-z0-9._-]+/[A-Za-z0-9._/-]+`)

// word matches what may be an address, perhaps with a scheme and punctuation around it.
var word = regexp.MustCompile(`[^\s,;()"'=<>]+`)

// withoutPlaces returns a text of the program without the paths and IP addresses in it.
func withoutPlaces(text string) string {
	text = word.ReplaceAllStringFunc(text, func(w string) string {
		bare := strings.Trim(strings.TrimPrefix(strings.TrimPrefix(w, "nats://"), "tls://"), ".-")
		bare = strings.TrimSuffix(bare, ":")
		_, err := netip.ParseAddrPort(bare)
		if err != nil {
			_, err = netip.ParseAddr(strings.Trim(bare, "[]"))
		}
		if err != nil {
			return w
		}
		prefix, suffix, _ := strings.Cut(w, bare)
		return strings.TrimSuffix(strings.TrimSuffix(prefix, "nats://"), "tls://") + "(address)" + suffix
	})
	return filePath.ReplaceAllString(text, "(file)")
}
