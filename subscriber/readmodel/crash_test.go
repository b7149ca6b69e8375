package readmodel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// The environment variables of a child process, which is this binary.
const (
	childURL    = "READMODEL_CHILD_URL"   // of the broker
	childCreds  = "READMODEL_CHILD_CREDS" // file of the reader's credentials
	childPath   = "READMODEL_CHILD_PATH"
	childStep   = "READMODEL_CHILD_STEP"   // name of the step at which it kills itself
	childRounds = "READMODEL_CHILD_ROUNDS" // when it gets there this often
)

// runChild follows the stream until it is killed.
func runChild() {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	rounds, err := strconv.Atoi(os.Getenv(childRounds))
	fail(err)
	nc, err := nats.Connect(os.Getenv(childURL), nats.UserCredentials(os.Getenv(childCreds)), nats.Timeout(enough))
	fail(err)
	js, err := jetstream.New(nc)
	fail(err)
	m, err := readmodel.Open(ctx, os.Getenv(childPath), readmodel.Config{MaxBatch: 9, Step: func(name string) {
		if name == os.Getenv(childStep) {
			if rounds--; rounds <= 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}})
	fail(err)
	fail(m.Run(ctx, js))
}

// mixed makes events of every kind in three studies and the access log.
func mixed(n int) []events.Event {
	random := rand.New(rand.NewPCG(1, 2))
	studies := []*study{{number: "S1"}, {number: "S 2"}, {number: "S3"}}
	log := &study{number: events.AccessStudy}
	last := map[string]events.Event{}
	var list []events.Event
	for len(list) < n {
		s := studies[random.IntN(len(studies))]
		id := fmt.Sprintf("%s.%d", strings.ReplaceAll(s.number, " ", ""), random.IntN(20))
		before, published := last[id]
		switch kind := random.IntN(10); {
		case kind == 0:
			list = append(list, log.partner(access.Partner{ID: "p" + strconv.Itoa(random.IntN(3)), Studies: []string{s.number}, Enabled: true}))
		case kind == 1 && published:
			list = append(list, s.supersede(before))
		case kind == 2 && published:
			list = append(list, s.sign(events.ReportWithdrawn, s.assessment(id)))
		default:
			list = append(list, s.observations(s.assessment(id)))
			kind := events.ReportSigned
			if published {
				kind = events.ReportAmended
			}
			last[id] = s.sign(kind, s.assessment(id))
			list = append(list, last[id])
		}
	}
	return list
}

func TestKill(t *testing.T) {
	const kills = 40
	b := newBroker(t)
	path := newPath(t)
	list := mixed(2000)
	b.publish(list[:200]...)
	go func() { // the rest comes while the reader is being killed
		for rest := list[200:]; len(rest) > 0; rest = rest[min(20, len(rest)):] {
			b.publish(rest[:min(20, len(rest))]...)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	url, creds := b.Server().ClientURL(), b.credentials()
	for i := range kills {
		step := []string{"write", "commit", "publish", "none"}[i%4]
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0",
			childURL+"="+url, childCreds+"="+creds, childPath+"="+path, childStep+"="+step, childRounds+"="+strconv.Itoa(1+rand.IntN(4)))
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		// Where the child does not kill itself, or has nothing left to apply.
		late := time.AfterFunc(time.Duration(50+rand.IntN(400))*time.Millisecond, func() { _ = child.Process.Kill() })
		err := child.Wait()
		late.Stop()
		if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("the child was not killed: %v", err)
		}
	}
	m := open(t, path, quiet)
	t.Logf("after %d kills %d of %d messages are applied", kills, m.Position().StreamSequence, len(list))
	stop := follow(t, m, b.reader)
	reaches(t, m, uint64(len(list)))
	stop()

	undisturbed := newPath(t)
	other := open(t, undisturbed, quiet)
	stop = follow(t, other, b.reader)
	reaches(t, other, uint64(len(list)))
	stop()
	if diff := cmp.Diff(dump(t, undisturbed), dump(t, path)); diff != "" {
		t.Error(diff)
	}
	checkAgainst(t, m, list)
}

// checkAgainst compares what is available with what the events say, in the
// plainest way.
func checkAgainst(t *testing.T, m *readmodel.Model, list []events.Event) {
	t.Helper()
	available := map[string]map[string]string{}
	for _, e := range list {
		id, _, ok := e.ReportID()
		if !ok || e.Kind() == events.ObservationsSigned {
			continue
		}
		if available[e.Study] == nil {
			available[e.Study] = map[string]string{}
		}
		if e.Kind().Publishes() {
			available[e.Study][id] = string(e.Data)
		} else {
			delete(available[e.Study], id)
		}
	}
	for study, want := range available {
		page, err := m.Search(context.Background(), readmodel.Query{Study: study, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, r := range page.Reports {
			got[r.ID] = string(r.Body)
		}
		if diff := cmp.Diff(want, got); diff != "" || page.Total != len(want) {
			t.Errorf("%s: total %d: %s", study, page.Total, diff)
		}
	}
}
