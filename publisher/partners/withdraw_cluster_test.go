package partners_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// stubborn is a partner that never stops trying to read study A at one server.
type stubborn struct {
	mu       sync.Mutex
	live     []int // numbers of the events that it heard
	pulled   []int
	answered []time.Time // when requests were sent that the API answered
}

// run tries until stop is called.
func (s *stubborn) run(t *testing.T, url, id string) (stop func()) {
	t.Helper()
	nc, err := nats.Connect(url, nats.UserInfo(id, secretOf(id)), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(5*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.IgnoreAuthErrorAbort(), nats.Timeout(time.Second), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	hear := func(m *nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.live = append(s.live, number(m.Data))
	}
	if _, err := nc.Subscribe("crit.v1.A.>", hear); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ended := make(chan struct{})
	for range 2 {
		running.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				s.try(nc, id)
			}
		})
	}
	return func() {
		close(ended)
		nc.Close()
		running.Wait()
	}
}

// try asks for an event and for the state of the consumer.
func (s *stubborn) try(nc *nats.Conn, id string) {
	began := time.Now()
	m, err := nc.Request("js.signoff.CONSUMER.MSG.NEXT.SIGNOFF."+id+"=A", []byte(`{"batch":1,"expires":50000000}`), 100*time.Millisecond)
	if err == nil && m.Header.Get("Status") == "" {
		s.mu.Lock()
		s.pulled = append(s.pulled, number(m.Data))
		s.mu.Unlock()
		_ = m.Ack() // the connection may be lost
	}
	m, err = nc.Request("js.signoff.CONSUMER.INFO.SIGNOFF."+id+"=A", nil, 100*time.Millisecond)
	var answer struct {
		Config *struct{} `json:"config"`
	}
	if err == nil && json.Unmarshal(m.Data, &answer) == nil && answer.Config != nil {
		s.mu.Lock()
		s.answered = append(s.answered, began)
		s.mu.Unlock()
	}
	if !nc.IsConnected() {
		time.Sleep(time.Millisecond) // else it would keep the machine busy
	}
}

func number(body []byte) int {
	n, err := strconv.Atoi(string(body))
	if err != nil {
		return -1
	}
	return n
}

// after returns the numbers beyond last.
func (s *stubborn) after(last int) (live, pulled []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	beyond := func(all []int) []int {
		return slices.DeleteFunc(slices.Clone(all), func(n int) bool { return n <= last })
	}
	return beyond(s.live), beyond(s.pulled)
}

// What is withdrawn while a server is away ends there too. The partner stays connected to
// that server, or comes back to it, and never stops trying.
func TestAWithdrawalHoldsOnAServerThatWasAway(t *testing.T) {
	for what, away := range map[string]struct {
		leave  func(t *testing.T, c *cluster)
		back   func(t *testing.T, c *cluster)
		paused bool // or the like: it keeps its connections and cannot know of the withdrawal
	}{
		"killed and started again": {
			leave: func(_ *testing.T, c *cluster) { c.kill(2) },
			back:  func(t *testing.T, c *cluster) { c.start(t, 2) },
		},
		"cut off from the others, with its connections open": {
			leave:  func(_ *testing.T, c *cluster) { c.cutOff.Store(true) },
			back:   func(_ *testing.T, c *cluster) { c.cutOff.Store(false) },
			paused: true,
		},
		"paused": {
			leave:  func(t *testing.T, c *cluster) { send(t, c, syscall.SIGSTOP) },
			back:   func(t *testing.T, c *cluster) { send(t, c, syscall.SIGCONT) },
			paused: true,
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := prepare(t, config{})
			for _, p := range []string{"acme", "globex"} {
				h.directory.d = h.directory.d.WithPartner(partner(p, "A", "B"))
			}
			c := startProcesses(t)
			all := c.urls
			c.urls = all[:2] // the service is not connected to the server that will be away
			c.reach(time.Second)
			h.on(c)
			h.startService()
			h.ready()
			var partners []*stubborn
			for _, id := range []string{"acme", "globex"} {
				s := &stubborn{}
				until(t, id+" is let in", func() bool {
					nc, err := nats.Connect(all[2], nats.UserInfo(id, secretOf(id)), nats.NoReconnect())
					if err == nil {
						nc.Close()
					}
					return err == nil
				})
				defer s.run(t, all[2], id)()
				partners = append(partners, s)
			}
			var published atomic.Int64
			ended, publishing := make(chan struct{}), make(chan struct{})
			defer func() { close(ended); <-publishing }()
			nc := h.connect(natsd.Publisher)
			go func() {
				defer close(publishing)
				tick := time.NewTicker(2 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-ended:
						return
					case <-tick.C:
						// It is not counted before it is sent, so that an event with a later number was sent later.
						_ = nc.Publish("in.crit.v1.A.DiagnosticReport.signed", fmt.Appendf(nil, "%d", published.Add(1)))
					}
				}
			}()
			for _, s := range partners {
				until(t, "a partner hears", func() bool { live, _ := s.after(0); return len(live) > 0 })
				until(t, "a partner pulls", func() bool { _, pulled := s.after(0); return len(pulled) > 0 })
			}
			away.leave(t, c)
			h.set("acme", "B")                                                                          // a study is withdrawn
			h.setPartner(access.Partner{ID: "globex", Studies: []string{}, Secrets: []access.Secret{}}) // a partner is removed
			until(t, "the consumers are gone and the server is named", func() bool {
				names, err := h.listed() // whoever leads the stream may be away
				return err == nil && !slices.Contains(names, "acme=A") && !slices.Contains(names, "globex=A") && slices.Contains(h.reconciler.Status().Unanswered, "n3")
			})
			until(t, "the others are done", func() bool { return h.reconciler.Status().Ready })
			last, withdrawn := int(published.Load()), time.Now()
			until(t, "more is published while it is away", func() bool { return int(published.Load()) > last+200 })
			away.back(t, c)
			back := time.Now()
			until(t, "all servers have answered", func() bool {
				s := h.reconciler.Status()
				return s.Ready && len(s.Unanswered) == 0
			})
			h.admit("initech", "C") // so that there was a round since
			end, known := int(published.Load()), time.Now()
			t.Logf("all servers have answered %s after it was back", time.Since(back))
			until(t, "more is published", func() bool { return int(published.Load()) > end+200 })
			for i, s := range partners {
				live, pulled := s.after(last)
				if len(pulled) > 0 {
					t.Errorf("partner %d pulled %d events after the withdrawal", i, len(pulled))
				}
				if len(live) > 0 && !away.paused {
					t.Errorf("partner %d heard %d events after the withdrawal", i, len(live))
				}
				if late, _ := s.after(end); len(late) > 0 {
					t.Errorf("partner %d heard %d events after all servers had answered", i, len(late))
				}
				t.Logf("partner %d heard %d events of after the withdrawal", i, len(live))
				// A server that runs, and cannot know, may answer what the consumer's state is.
				from := withdrawn
				if away.paused {
					from = known
				}
				s.mu.Lock()
				for _, asked := range s.answered {
					if asked.After(from) {
						t.Errorf("partner %d: a request of %s after the withdrawal was answered", i, asked.Sub(withdrawn))
					}
				}
				s.mu.Unlock()
			}
			until(t, "the consumers are not there again", func() bool {
				names, err := h.listed()
				return err == nil && slices.Contains(names, "acme=B") && !slices.Contains(names, "acme=A") && !slices.Contains(names, "globex=A")
			})
			for id, want := range map[string][]string{"acme": {"crit.partner.acme.access", "crit.v1.B.>"}, "globex": nil} {
				same(t, "what the server stores of "+id, c.streams(t, 2, id), want...)
			}
		})
	}
}

// While many accounts are pushed, a server that stops answering is named at once. A server that
// has lost its accounts gets all of them again, and what is withdrawn meanwhile does not wait
// for that.
func TestAPushOfManyAccountsHoldsUpNeitherTheStatusNorAWithdrawal(t *testing.T) {
	t.Parallel()
	const removed = 600         // partners; their accounts are pushed too, but they have no consumers
	const all = removed + 1 + 4 // accounts, with acme's and those of the service
	h := prepare(t, config{})
	h.directory.d = h.directory.d.WithPartner(partner("acme", "A", "B"))
	for i := range removed {
		h.directory.d = h.directory.d.WithPartner(access.Partner{ID: fmt.Sprint("p", i), Studies: []string{}, Secrets: []access.Secret{}})
	}
	c := startProcesses(t)
	c.urls = c.urls[:2] // the service is not connected to the third server
	c.reach(time.Second)
	h.on(c)
	some := func(dir string) func() bool {
		return func() bool {
			stored, err := os.ReadDir(dir)
			return err == nil && len(stored) > 20
		}
	}

	h.startService()
	until(t, "some accounts are pushed", some(c.accounts[0]))
	send(t, c, syscall.SIGSTOP)
	var pushed int // before the server is named
	until(t, "the server is named", func() bool {
		stored, err := os.ReadDir(c.accounts[0])
		if err != nil {
			t.Fatal(err)
		}
		pushed = len(stored)
		return slices.Contains(h.reconciler.Status().Unanswered, "n3")
	})
	if pushed >= all {
		t.Errorf("it was named after all accounts were pushed: %d", pushed)
	}
	send(t, c, syscall.SIGCONT)
	h.ready()

	gone := h.mustLogin("acme").StatusChanged(nats.CLOSED)

	c.kill(2)
	dir := c.accounts[2]
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	c.start(t, 2)
	until(t, "some accounts are pushed again", some(dir))
	h.set("acme", "B")
	ends(t, "who had the study", gone)
	until(t, "all accounts are pushed again", func() bool {
		stored, err := os.ReadDir(dir)
		return err == nil && len(stored) == all && h.reconciler.Status().Ready
	})
	same(t, "what the server stores", c.streams(t, 2, "acme"), "crit.partner.acme.access", "crit.v1.B.>")
	storedAt := func(id string) time.Time {
		info, err := os.Stat(filepath.Join(dir, h.keys.PartnerAccount(id)+".jwt"))
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	withdrawn, later := storedAt("acme"), 0
	for i := range removed {
		if storedAt(fmt.Sprint("p", i)).After(withdrawn) {
			later++
		}
	}
	t.Logf("%d of %d accounts were pushed after the withdrawal", later, removed)
	if later == 0 {
		t.Error("the withdrawal waited until all accounts were pushed")
	}
}

// listed returns the names of the consumers.
func (h *installation) listed() (names []string, err error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Second)
	defer cancel()
	stream, err := h.writer.Stream(ctx, events.Stream)
	if err != nil {
		return nil, err
	}
	all := stream.ConsumerNames(ctx)
	for name := range all.Name() {
		names = append(names, name)
	}
	return names, all.Err()
}

// streams returns the subjects that a partner hears by what a server stores.
func (c *cluster) streams(t *testing.T, server int, id string) (subjects []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.accounts[server], c.keys.PartnerAccount(id)+".jwt"))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := jwt.DecodeAccountClaims(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range claims.Imports {
		if i.Type == jwt.Stream {
			subjects = append(subjects, string(i.Subject))
		}
	}
	slices.Sort(subjects)
	return subjects
}

func send(t *testing.T, c *cluster, signal syscall.Signal) {
	t.Helper()
	if err := c.processes[2].Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}
