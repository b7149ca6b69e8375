package api_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// live is a stand whose API stands over a real read model, fed by a real
// stream.
type live struct {
	*stand
	t      testing.TB
	model  *readmodel.Model
	writer jetstream.JetStream
	links  map[string]events.ChainHead // by study key
	end    uint64                      // of the stream
}

// openLive starts broker, read model and API. The partner is announced on the
// log, as it would be.
func openLive(t testing.TB, cfg api.Config, studies ...string) *live {
	t.Helper()
	broker, err := natsd.Start(natsd.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Shutdown)
	l := &live{t: t, links: map[string]events.ChainHead{}, writer: connect(t, broker, natsd.Publisher)}
	if _, err := publisher.EnsureStream(t.Context(), l.writer, publisher.StreamConfig{}); err != nil {
		t.Fatal(err)
	}
	l.model, err = readmodel.Open(t.Context(), filepath.Join(t.TempDir(), "readmodel.db"), readmodel.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.model.Close() })
	l.follow(connect(t, broker, natsd.Reader))
	l.stand = openOver(t, l.model, cfg)
	key := l.signer.Key(noon.Add(-time.Hour))
	l.announce(events.AccessKey, key.EventSubject(), key)
	l.grant(studies...)
	return l
}

// follow runs the read model until the test ends.
func (l *live) follow(js jetstream.JetStream) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.model.Run(ctx, js) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("read model: %v", err)
		}
	})
}

func connect(t testing.TB, broker *natsd.Server, role natsd.Role) jetstream.JetStream {
	t.Helper()
	nc, err := broker.Connect(role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish seals an event onto its study's chain and stores it.
func (l *live) publish(e events.Event) {
	l.t.Helper()
	e.ID = uuid.Must(uuid.NewV7()).String()
	e.Source = events.DefaultNamespace.Source(e.Study)
	e.DataContentType = e.Kind().MediaType()
	e.PartitionKey = e.Study + "/1"
	e.Seal(l.links[e.Study])
	l.links[e.Study] = e.ChainHead()
	ack, err := l.writer.PublishMsg(l.t.Context(), &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data})
	if err != nil {
		l.t.Fatal(err)
	}
	l.end = ack.Sequence
}

// wait returns when the read model has applied all there is.
func (l *live) wait() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	if err := l.model.WaitFor(ctx, l.end); err != nil {
		l.t.Fatal(err)
	}
}

// newer publishes an event of a kind that only a newer publisher knows.
func (l *live) newer(kind events.Kind, study string) {
	l.t.Helper()
	l.publish(events.Event{
		Type: events.DefaultNamespace.Type(kind), Subject: "Basic/1", Study: study, Data: []byte(`{"resourceType":"Basic"}`),
		Time: noon.Add(time.Duration(l.links[study].Number+1) * time.Microsecond),
	})
	l.wait()
}

// announce publishes an access event.
func (l *live) announce(kind events.Kind, subject string, data any) {
	l.t.Helper()
	body, err := json.Marshal(data)
	if err != nil {
		l.t.Fatal(err)
	}
	l.publish(events.Event{Type: events.DefaultNamespace.Type(kind), Subject: subject, Time: noon, Study: events.AccessStudy, Data: body})
	l.wait()
}

// grant makes these the partner's studies.
func (l *live) grant(studies ...string) {
	l.t.Helper()
	p := access.Partner{ID: partnerID, Studies: studies, Secrets: secrets(), Enabled: true}
	l.announce(events.AccessPartner, p.EventSubject(), p)
}

// report publishes a version of a report. Number and time are those of the
// event.
func (l *live) report(kind events.Kind, r fhir.Report) fhir.Report {
	l.t.Helper()
	token := events.StudyKey(r.Assessment.Study)
	r.Version = l.links[token].Number + 1
	r.LastUpdated = noon.Add(time.Duration(r.Version) * time.Microsecond)
	if r.Signature.Time.IsZero() {
		r.Signature = events.Signature{User: "jdoe", Name: "Jane Doe, MD", Meaning: "I approve this", Time: r.LastUpdated}
	}
	body, err := r.Encode()
	if err != nil {
		l.t.Fatal(err)
	}
	l.publish(events.Event{
		Type: events.DefaultNamespace.Type(kind), Subject: events.ReportSubject(r.Assessment.ID, r.Version), Time: r.LastUpdated, Study: token, Data: body,
	})
	return r
}
