package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// A read model follows the stream, and the API serves its reports. A partner
// gets a page with an access token and its id.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	folder, err := os.MkdirTemp("", "example")
	check(err)
	defer os.RemoveAll(folder)
	quiet := slog.New(slog.DiscardHandler)

	// A NATS server with three events: a key of access tokens, a partner, a report.
	broker, err := natsd.Start(natsd.Config{Dir: folder, Log: quiet})
	check(err)
	defer broker.Shutdown()
	privateKey, err := access.NewKey()
	check(err)
	signer, err := access.NewSigner(privateKey)
	check(err)
	last := publishThreeEvents(ctx, broker, signer)

	// The read model.
	model, err := readmodel.Open(ctx, filepath.Join(folder, "readmodel.db"), readmodel.Config{Log: quiet})
	check(err)
	defer model.Close()
	nc, err := broker.Connect(natsd.Reader)
	check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	check(err)
	ended := make(chan error, 1)
	go func() { ended <- model.Run(ctx, js) }()
	defer func() { cancel(); check(<-ended) }()
	check(model.WaitFor(ctx, last))

	// The API.
	reports := api.New(model, api.Config{PublicURL: "https://reports.example.org"})
	server := httptest.NewServer(rest.Wrap(reports, quiet))
	defer server.Close()

	// The partner.
	accessToken, err := signer.Issue("token-1", "https://reports.example.org"+api.DefaultOAuthPath, "acme", "the client secret", time.Now())
	check(err)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+api.DefaultBasePath+"/DiagnosticReport?researchstudy=FHIR-T", nil)
	check(err)
	request.Header.Set("Authorization", "Bearer "+accessToken)
	request.Header.Set("X-Partnerid", "acme")
	response, err := server.Client().Do(request)
	check(err)
	defer response.Body.Close()
	var page struct {
		Total int
		Link  []struct{ Relation, URL string }
		Entry []struct {
			Resource struct{ ID, Conclusion string }
		}
	}
	check(json.NewDecoder(response.Body).Decode(&page))
	fmt.Println(response.StatusCode, "total", page.Total)
	fmt.Println(page.Entry[0].Resource.ID, page.Entry[0].Resource.Conclusion)
	fmt.Println(page.Link[0].Relation, page.Link[0].URL)
	// Output:
	// 200 total 1
	// 790 Partial Response
	// self https://reports.example.org/msk-apim/external/v2/crit/blaze/api/DiagnosticReport?researchstudy=FHIR-T&page=1
}

// publishThreeEvents does what the publisher does, without an outbox, and returns
// the stream sequence of the last event.
func publishThreeEvents(ctx context.Context, broker *natsd.Server, signer *access.Signer) (last uint64) {
	nc, err := broker.Connect(natsd.Publisher)
	check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	check(err)
	_, err = publisher.EnsureStream(ctx, js, publisher.StreamConfig{})
	check(err)

	now := time.Now().UTC().Truncate(time.Microsecond)
	key := signer.Key(now.Add(-time.Minute))
	partner := access.Partner{
		ID: "acme", Studies: []string{"FHIR-T"}, Enabled: true, Secrets: []access.Secret{{SHA256: access.DigestSecret("the client secret")}},
	}
	report := fhir.Report{
		Assessment: events.Assessment{
			ID: "790", Study: "FHIR-T", SponsorStudy: "C3861001", TrialName: "FHIR-T", Criteria: events.Criteria,
			Case: events.Case{ID: 163, Revision: 5}, Revision: 1, Name: events.FollowUp(2), Timepoint: 2,
			Subject: "10081007", Effective: "2006-10-13T09:31:24", Conclusion: "Partial Response",
		},
		Signature: events.Signature{User: "rivera", Name: "Ana Rivera, MD", Meaning: "I approve this assessment", Time: now},
		Version:   1, LastUpdated: now,
	}
	keyBody, err1 := json.Marshal(key)
	partnerBody, err2 := json.Marshal(partner)
	reportBody, err3 := report.Encode()
	check(errors.Join(err1, err2, err3))

	heads := map[string]events.ChainHead{} // by study key
	for _, e := range []events.Event{
		{Type: events.DefaultNamespace.Type(events.AccessKey), Study: events.AccessStudy, Subject: key.EventSubject(), Time: now, Data: keyBody},
		{Type: events.DefaultNamespace.Type(events.AccessPartner), Study: events.AccessStudy, Subject: partner.EventSubject(), Time: now.Add(time.Microsecond), Data: partnerBody},
		{Type: events.DefaultNamespace.Type(events.ReportSigned), Study: "FHIR-T", Subject: events.ReportSubject("790", 1), Time: now, Data: reportBody},
	} {
		sealed := seal(e, heads[e.Study])
		heads[e.Study] = sealed.ChainHead()
		ack, err := js.PublishMsg(ctx, message(sealed))
		check(err)
		last = ack.Sequence
	}
	return last
}

func check(err error) {
	if err != nil {
		log.Panic(err)
	}
}
