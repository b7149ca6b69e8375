package subscriber_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/subscriber"
)

// childVariable makes the test binary a partner's program: it contains the token
// endpoint, the NATS server and the database, separated by spaces.
const childVariable = "SIGNOFF_TEST_PARTNER"

// child follows S1 into the archive until it is killed.
func child() {
	var tokenURL, natsURL, path string
	if _, err := fmt.Sscan(os.Getenv(childVariable), &tokenURL, &natsURL, &path); err != nil {
		log.Fatal(err)
	}
	a, err := openArchive(path)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	p, err := subscriber.Dial(ctx, subscriber.Credentials{TokenURL: tokenURL, ClientID: acme, Secret: subscriber.Secret(secret)},
		natsURL, subscriber.PartnerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(p.Follow(ctx, "S1", a))
}

func TestAPartnerThatIsKilledStoresEachEventOnce(t *testing.T) {
	const kills, each = 8, 60
	d := newServer(t, "S1")
	holdOn(t, d)
	path := t.TempDir() + "/reports.db"
	a, err := openArchive(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.db.Close()
	want := (&study{key: "S1"}).take(kills * each)
	for i := range kills {
		publish(t, d, want[i*each:(i+1)*each]...)
		until := i*each + rand.IntN(each) + 1
		if i == kills-1 {
			until = kills * each
		}
		runChild(t, d, path, func() bool { return stored(t, a) >= until })
	}
	rows, err := a.db.Query(`select number, subject, report from event order by rowid`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var number uint64
		var subject string
		var report []byte
		if err := rows.Scan(&number, &subject, &report); err != nil {
			t.Fatal(err)
		}
		if number != want[n].Number || subject != want[n].Subject || !bytes.Equal(report, want[n].Data) {
			t.Fatalf("row %d holds event %d about %s", n+1, number, subject)
		}
	}
	if err := rows.Err(); err != nil || n != len(want) {
		t.Errorf("%d of %d events are stored, %v", n, len(want), err)
	}
}

// runChild runs the program until the condition is true, and kills it.
func runChild(t *testing.T, d *partnerServer, path string, done func() bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+d.endpoint.URL+" "+d.url()+" "+path, "GORACE=atexit_sleep_ms=0")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // it was killed
	defer func() { _ = cmd.Process.Kill() }()
	for limit := time.Now().Add(enough); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("the program does not get on: %s", &problems)
		}
	}
}

func stored(t *testing.T, a *archive) (n int) {
	t.Helper()
	if err := a.db.QueryRow(`select count(*) from event`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
