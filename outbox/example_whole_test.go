package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// The whole way of a report in one process: a PI signs it off in the outbox, the
// relay publishes it to an embedded NATS server, the read model stores it, and a
// partner reads it over HTTP.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	dir, err := os.MkdirTemp("", "example")
	check(err)
	defer os.RemoveAll(dir)

	// The write side: outbox, NATS server and relay.
	o, err := outbox.Open(ctx, filepath.Join(dir, "outbox.db"), outbox.Config{})
	check(err)
	server, err := natsd.Start(natsd.Config{Dir: dir})
	check(err)
	write, err := server.Connect(natsd.Publisher)
	check(err)
	relay, err := publisher.New(write, o.Source(), publisher.Config{})
	check(err)

	// The read side: read model and API.
	model, err := readmodel.Open(ctx, filepath.Join(dir, "readmodel.db"), readmodel.Config{})
	check(err)
	read, err := server.Connect(natsd.Reader)
	check(err)
	js, err := jetstream.New(read)
	check(err)
	web := httptest.NewServer(api.New(model, api.Config{}))

	var running errgroup.Group
	running.Go(func() error { return o.Run(ctx) })
	running.Go(func() error { return relay.Run(ctx) })
	running.Go(func() error { return model.Run(ctx, js) })

	// A PI, a partner, and a key for the partner's access token.
	check(accountstest.AddPI(ctx, o.Accounts(), "operator", "dr.who", "Dr. Who", []string{"FHIR-T"}, "a password for the example"))
	secret, err := o.Accounts().AddPartner(ctx, "operator", "acme", "Acme Ltd", []string{"FHIR-T"})
	check(err)
	key, err := access.NewKey()
	check(err)
	signer, err := access.NewSigner(key)
	check(err)
	check(o.Accounts().AnnounceKey(ctx, signer.Key(time.Now())))
	token, err := signer.Issue("1", "http://127.0.0.1:8080"+api.DefaultOAuthPath, "acme", secret, time.Now())
	check(err)

	register(ctx, o, "790")
	sign(ctx, o, "790")

	// Wait until the read model has applied everything, then read the report.
	status, err := o.Status(ctx)
	check(err)
	check(model.WaitFor(ctx, status.Events))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL+api.DefaultBasePath+"/DiagnosticReport?researchstudy=FHIR-T", nil)
	check(err)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-PartnerId", "acme")
	response, err := web.Client().Do(request)
	check(err)
	var bundle struct{ Total int }
	check(json.NewDecoder(response.Body).Decode(&bundle))
	check(response.Body.Close())
	fmt.Println(response.Status, "- reports:", bundle.Total)

	web.Close()
	stop()
	check(running.Wait())
	read.Close()
	write.Close()
	check(model.Close())
	server.Shutdown()
	check(o.Close())
	// Output:
	// 200 OK - reports: 1
}
