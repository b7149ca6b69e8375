package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// polledStudy has everything in its name that an address must escape.
const polledStudy = "Étude 7/β (A) [x] {1,2} & co=+%41?#"

const clientsDir = "../../subscriber/api/testdata/clients"

// studyChanger signs, amends, supersedes and withdraws the reports of a study.
type studyChanger struct {
	t         *testing.T
	outbox    *outbox.Outbox
	random    *rand.Rand
	caseRev   map[int]int32
	revision  map[string]int32
	available map[string]bool
}

const (
	polledCases  = 4
	polledVisits = 3 // of a case
)

func newStudyChanger(t *testing.T, p *server.Server) *studyChanger {
	t.Helper()
	if err := accountstest.AddPI(t.Context(), p.Outbox.Accounts(), "test", "pi", "P. Investigator", []string{polledStudy}, testPassword); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &studyChanger{
		t: t, outbox: p.Outbox, random: rand.New(rand.NewPCG(seed, 0)),
		caseRev: map[int]int32{}, revision: map[string]int32{}, available: map[string]bool{},
	}
	for i := range polledCases {
		c.caseRev[i] = 1
		c.sign(i, 0, 1, 2)
	}
	return c
}

func visitID(caseIndex, visit int) string { return fmt.Sprintf("%d-%d.v", caseIndex+1, visit) }

// sign signs new versions of some of a case's assessments.
func (c *studyChanger) sign(caseIndex int, visits ...int) {
	c.t.Helper()
	var batch []events.Submission
	var ids []string
	for _, visit := range visits {
		id := visitID(caseIndex, visit)
		c.revision[id]++
		batch = append(batch, events.Submission{Assessment: c.assessment(caseIndex, visit)})
		ids = append(ids, id)
	}
	results, err := c.outbox.Register(c.t.Context(), "test", batch)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			c.t.Fatal(r.Err)
		}
	}
	if _, err := c.outbox.SignOff(c.t.Context(), outbox.SignOff{User: "pi", Meaning: meaning, IDs: ids}); err != nil {
		c.t.Fatal(err)
	}
	for _, id := range ids {
		c.available[id] = true
	}
}

// assessment returns the next version of an assessment. The first baseline has many lesions,
// for all of which fhirclient asks at once, and some assessments have none. The dates are
// written in three ways.
func (c *studyChanger) assessment(caseIndex, visit int) events.Assessment {
	id := visitID(caseIndex, visit)
	a := events.Assessment{
		ID: id, Study: polledStudy, SponsorStudy: "SP <7>", TrialName: polledStudy, Criteria: events.Criteria,
		Case: events.Case{ID: int32(caseIndex + 1), Revision: c.caseRev[caseIndex]}, Revision: c.revision[id], RevisionDate: "2026-01",
		Name: events.Baseline, Timepoint: int32(visit), Subject: fmt.Sprintf("10 %d/\"ü\"", caseIndex),
		Effective: []string{"2014-01", "2006-10-13T09:31:24", "2026-03-09T10:05:00Z"}[visit], Conclusion: "Yes",
		Measurement: &events.Measurement{
			Type: "targetsum", Value: "50.0", Unit: events.Unit, ChangeFromPrevious: "--", ChangeFromBaseline: "0.0 mm", ChangeFromNadir: "--",
		},
	}
	if visit > 0 {
		a.Name = events.FollowUp(visit)
	}
	lesions := c.random.IntN(3) + visit%2
	if caseIndex+visit == 0 {
		lesions = 25
	}
	for i := range lesions {
		number := int32(i)
		a.Lesions = append(a.Lesions, events.Lesion{
			ID: fmt.Sprintf("T%d (left, upper)+?&", i), Category: "Target", Organ: "Lung <left>", State: "Present", Value: "12.50", Unit: events.Unit,
			Modality: "CT", Label: "Long axis", SeriesNumber: &number, SeriesDescription: "5 mm", ChangeFromPrevious: "--",
		})
	}
	return a
}

// change makes one change at random.
func (c *studyChanger) change() {
	c.t.Helper()
	caseIndex, visit := c.random.IntN(polledCases), c.random.IntN(polledVisits)
	id := visitID(caseIndex, visit)
	switch n := c.random.IntN(6); {
	case n == 0: // the case's other reports are superseded
		c.caseRev[caseIndex]++
		for v := range polledVisits {
			c.available[visitID(caseIndex, v)] = false
		}
		c.sign(caseIndex, visit)
	case n == 1 && c.available[id]:
		c.withdraw(id)
	default:
		c.sign(caseIndex, visit)
	}
}

func (c *studyChanger) withdraw(id string) {
	c.t.Helper()
	if _, err := c.outbox.Withdraw(c.t.Context(), outbox.Withdrawal{User: "pi", ID: id, Meaning: meaning, Reason: "Scan of <another> subject"}); err != nil {
		c.t.Fatal(err)
	}
	c.available[id] = false
}

// finish makes the last changes: all visits of the first case are available afterwards, and
// the report that it returns is withdrawn.
func (c *studyChanger) finish() (gone string) {
	c.t.Helper()
	c.sign(0, 0, 1, 2)
	c.sign(1, 0)
	gone = visitID(1, 0)
	c.withdraw(gone)
	return gone
}

// subscriberState is what a subscriber to the events of a study has.
type subscriberState struct {
	mu    sync.Mutex
	state studyState
	at    subscriber.Bookmark
	news  chan struct{}
}

func (s *subscriberState) Resume(context.Context, string) (subscriber.Bookmark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, nil
}

func (s *subscriberState) Handle(_ context.Context, d subscriber.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	method := map[events.Kind]string{
		events.ObservationsSigned: http.MethodPost, events.ReportSigned: http.MethodPut, events.ReportAmended: http.MethodPut,
	}[d.Kind]
	s.at, s.state.Number, s.state.Hash = d.Bookmark, d.Bookmark.Number, d.Bookmark.Hash
	select {
	case s.news <- struct{}{}:
	default:
	}
	return s.state.store(method, strings.Split(d.Event.Subject(), "/")[1], d.Report)
}

// follow lets a subscriber follow the study until the test ends, and returns what waits
// until it has an event and then returns its state.
func (s *subscriberState) follow(t *testing.T, p *server.Server, id, secret string) (await func(number uint64) studyState) {
	t.Helper()
	awaitConsumer(t, p.NATS.ClientURL(), id, secret, polledStudy)
	ctx, cancel := context.WithCancel(t.Context())
	c := subscriber.Credentials{TokenURL: p.PublicURL() + token.Path, ClientID: id, Secret: subscriber.Secret(secret)}
	partner, err := subscriber.Dial(ctx, c, p.NATS.ClientURL(), subscriber.PartnerConfig{Outage: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- partner.Follow(ctx, polledStudy, s) }()
	t.Cleanup(func() { cancel(); <-ended; partner.Close() })
	return func(number uint64) studyState {
		for {
			s.mu.Lock()
			state := s.state
			s.mu.Unlock()
			if state.Number == number {
				return state
			}
			select {
			case <-s.news:
			case err := <-ended:
				t.Fatalf("the subscriber ended at %d of %d: %v", state.Number, number, err)
			case <-time.After(patience):
				t.Fatalf("the subscriber has %d of %d", state.Number, number)
			}
		}
	}
}

// pollingClient is a client that polls the study at the same time as others.
type pollingClient struct {
	t      *testing.T
	name   string
	exact  bool          // whether it keeps the bytes
	rounds atomic.Int64  // that it has made
	round  chan struct{} // has a value if it has made one since the last receive
	tell   func(uint64)  // tells it the number of the last event
	done   chan struct{} // is closed at the end
	got    pollResult    // then
	err    error         // then
}

func newPollingClient(t *testing.T, name string) *pollingClient {
	return &pollingClient{t: t, name: name, round: make(chan struct{}, 1), done: make(chan struct{})}
}

func (c *pollingClient) countRound() {
	c.rounds.Add(1)
	select {
	case c.round <- struct{}{}:
	default:
	}
}

// missing returns why the client cannot run, or nothing. It fails the test if the client is
// required.
func (c *pollingClient) missing() (reason string) {
	c.t.Helper()
	switch c.name {
	case "net-http":
		return ""
	case "curl":
		if _, err := exec.LookPath("curl"); err != nil {
			reason = "curl is not installed"
		}
		if reason != "" && os.Getenv("SIGNOFF_REQUIRE_CURL") != "" {
			c.t.Fatal(reason)
		}
		return reason
	default:
		return missingClients(c.t)
	}
}

// missingClients returns why the programs in clientsDir cannot run, or nothing. It fails the
// test if they are required.
func missingClients(t *testing.T) (reason string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(clientsDir, "node_modules")); err != nil {
		reason = "the packages are not installed: run npm ci in subscriber/api/testdata/clients"
	}
	if _, err := exec.LookPath("node"); err != nil {
		reason = "Node is not installed"
	}
	if reason != "" && os.Getenv("SIGNOFF_REQUIRE_NODE") != "" {
		t.Fatal(reason)
	}
	return reason
}

// startGo runs a poller in this process.
func (c *pollingClient) startGo(base string, get get) {
	var last atomic.Uint64
	last.Store(math.MaxUint64) // until it is known
	c.exact, c.tell = true, last.Store
	ctx, cancel := context.WithCancel(c.t.Context())
	p := poller{get: get, base: base, study: polledStudy}
	go func() {
		defer close(c.done)
		c.got, c.err = p.run(ctx, last.Load, c.countRound)
	}()
	c.t.Cleanup(func() { cancel(); <-c.done })
}

// startNode runs the script of the client in Node.
func (c *pollingClient) startNode(options map[string]string) {
	c.t.Helper()
	input, err := json.Marshal(options)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	cmd := exec.CommandContext(ctx, "node", filepath.Join(clientsDir, c.name+".js"))
	cmd.Stderr = c.t.Output()
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		c.t.Fatal(err)
	}
	// A client that has ended does not read; its error is reported when it is waited for.
	c.tell = func(number uint64) { _, _ = fmt.Fprintln(in, number) }
	_, _ = fmt.Fprintf(in, "%s\n", input)
	go func() {
		defer close(c.done)
		c.err = errors.Join(c.readLines(out), cmd.Wait())
	}()
	c.t.Cleanup(func() { cancel(); <-c.done })
}

// readLines reads what the script writes: a line for each round, and one with what it has.
func (c *pollingClient) readLines(out io.Reader) error {
	for lines := json.NewDecoder(out); ; {
		var line struct{ Followed, Walked *studyState }
		switch err := lines.Decode(&line); {
		case err != nil:
			return fmt.Errorf("the client ended without a result: %w", err)
		case line.Followed == nil:
			c.countRound()
		default:
			c.got = pollResult{*line.Followed, *line.Walked}
			return nil
		}
	}
}

// await waits until the client has made a round.
func (c *pollingClient) await(t *testing.T, deadline <-chan time.Time) {
	t.Helper()
	select {
	case <-c.round:
	case <-c.done:
		t.Fatalf("%s ended: %v", c.name, c.err)
	case <-deadline:
		t.Fatalf("the clients have not made enough rounds; %s has made %d", c.name, c.rounds.Load())
	}
}

// lags reports whether the client has made only few rounds.
func (c *pollingClient) lags(t *testing.T) bool {
	t.Helper()
	select {
	case <-c.done:
		t.Fatalf("%s ended: %v", c.name, c.err)
	default:
	}
	return c.rounds.Load() < 2
}

// compare compares what the client has in the end with what the subscriber has.
func (c *pollingClient) compare(t *testing.T, want studyState) {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if c.err != nil {
		t.Fatal(c.err)
	}
	got := c.got
	got.Walked.Number, got.Walked.Hash = got.Followed.Number, got.Followed.Hash // a walk has neither
	for how, state := range map[string]studyState{"history": got.Followed, "pages": got.Walked} {
		if diff := cmp.Diff(c.comparable(t, want), c.comparable(t, state)); diff != "" {
			t.Errorf("from the %s (-subscriber +client):\n%s", how, diff)
		}
	}
}

// comparable returns a state with its resources as text: the bytes, if the client keeps
// them, else the same JSON with its numbers as JavaScript has them.
func (c *pollingClient) comparable(t *testing.T, s studyState) map[string]string {
	all := map[string]string{"head": fmt.Sprint(s.Number, " ", s.Hash)}
	text := func(body json.RawMessage) string {
		if c.exact {
			return string(body)
		}
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(written)
	}
	for id, body := range s.Reports {
		all[id] = text(body)
	}
	for id, list := range s.Observations {
		for i, body := range list {
			all[fmt.Sprint(id, " ", i)] = text(body)
		}
	}
	return all
}

// Clients that others wrote poll a study while it changes. Each ends with what a
// subscriber has.
func TestClientsOfOthersEndWithWhatASubscriberHas(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	changer := newStudyChanger(t, p)
	base, tokenURL := p.PublicURL()+p.Settings.BasePath, p.PublicURL()+token.Path
	_, secret := newPartnerWithSecret(t, p, "subscriber", polledStudy)
	state := &subscriberState{state: newState(), news: make(chan struct{}, 1)}
	awaitSubscriber := state.follow(t, p, "subscriber", secret)
	awaitCaughtUp(t, p)

	var clients []*pollingClient
	missing := map[string]string{}
	for _, name := range []string{"net-http", "curl", "fhir-kit-client", "fhirclient"} {
		c := newPollingClient(t, name)
		if missing[name] = c.missing(); missing[name] == "" {
			client, secret := newPartnerWithSecret(t, p, name, polledStudy)
			switch name {
			case "net-http":
				c.startGo(base, netHTTP(name, client.token))
			case "curl":
				c.startGo(base, curl(t, tokenURL, name, secret))
			default:
				c.startNode(map[string]string{"base": base, "study": polledStudy, "id": name, "secret": secret})
			}
		}
		clients = append(clients, c)
	}
	deadline := time.After(2 * patience)
	lags := func(c *pollingClient) bool { return missing[c.name] == "" && c.lags(t) }
	for n := 0; n < 12 || slices.ContainsFunc(clients, lags); n++ {
		changer.change()
		changer.change()
		clients[0].await(t, deadline)
	}
	gone := changer.finish()
	head, err := p.Outbox.ChainHead(t.Context(), polledStudy)
	if err != nil {
		t.Fatal(err)
	}
	want := awaitSubscriber(head.Number)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			if reason := missing[c.name]; reason != "" {
				t.Skip(reason)
			}
			c.tell(head.Number)
			c.compare(t, want)
			t.Logf("%d rounds, %d events", c.rounds.Load(), head.Number)
		})
	}
	t.Run("the answers are FHIR R4", func(t *testing.T) { compareWithR4(t, newPartner(t, p, "validated", polledStudy), gone) })
}
