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

// modelServer is a server whose API reads a real read model, which follows a
// real stream.
type modelServer struct {
	*server
	t         testing.TB
	model     *readmodel.Model
	path      string // of the model's file
	publisher jetstream.JetStream
	heads     map[string]events.ChainHead // by study key
	last      uint64                      // stream sequence of the last event
}

// serveModel starts a NATS server, a read model and the API, and publishes the
// partner and its grants as access events.
func serveModel(t testing.TB, cfg api.Config, studies ...string) *modelServer {
	t.Helper()
	return serveFile(t, filepath.Join(t.TempDir(), "readmodel.db"), cfg, studies...)
}

// serveFile is serveModel for a model in the file at path, which may have content that
// the stream has not.
func serveFile(t testing.TB, path string, cfg api.Config, studies ...string) *modelServer {
	t.Helper()
	broker, err := natsd.Start(natsd.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Shutdown)
	s := &modelServer{t: t, path: path, heads: map[string]events.ChainHead{}, publisher: connect(t, broker, natsd.Publisher)}
	if _, err := publisher.EnsureStream(t.Context(), s.publisher, publisher.StreamConfig{}); err != nil {
		t.Fatal(err)
	}
	s.model, err = readmodel.Open(t.Context(), s.path, readmodel.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.model.Close() })
	s.follow(connect(t, broker, natsd.Reader))
	s.server = serveReader(t, s.model, cfg)
	key := s.signer.Key(noon.Add(-time.Hour))
	s.announce(events.AccessKey, key.EventSubject(), key)
	s.grant(studies...)
	return s
}

// follow runs the read model until the test ends.
func (s *modelServer) follow(js jetstream.JetStream) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.model.Run(ctx, js) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("read model: %v", err)
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
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish adds an event to the chain of its study and stores it in the stream.
func (s *modelServer) publish(e events.Event) {
	s.t.Helper()
	sealed := seal(e, s.heads[e.Study])
	s.heads[e.Study] = sealed.ChainHead()
	ack, err := s.publisher.PublishMsg(s.t.Context(), message(sealed))
	if err != nil {
		s.t.Fatal(err)
	}
	s.last = ack.Sequence
}

// seal completes an event and adds it to the chain of its study.
func seal(e events.Event, head events.ChainHead) events.Event {
	e.ID = uuid.Must(uuid.NewV7()).String()
	e.Source = events.DefaultNamespace.Source(e.Study)
	e.DataContentType = e.Kind().MediaType()
	e.PartitionKey = e.Study + "/1"
	e.Seal(head)
	return e
}

// message returns the message by which an event is stored in the stream.
func message(e events.Event) *nats.Msg {
	return &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
}

// wait waits until the read model has applied every event.
func (s *modelServer) wait() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	if err := s.model.WaitFor(ctx, s.last); err != nil {
		s.t.Fatal(err)
	}
}

// publishUnknown publishes an event of a kind that this version does not know.
func (s *modelServer) publishUnknown(kind events.Kind, study string) {
	s.t.Helper()
	s.publish(events.Event{
		Type: events.DefaultNamespace.Type(kind), Subject: "Basic/1", Study: study, Data: []byte(`{"resourceType":"Basic"}`),
		Time: noon.Add(time.Duration(s.heads[study].Number+1) * time.Microsecond),
	})
	s.wait()
}

// announce publishes an access event.
func (s *modelServer) announce(kind events.Kind, subject string, data any) {
	s.t.Helper()
	body, err := json.Marshal(data)
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(events.Event{Type: events.DefaultNamespace.Type(kind), Subject: subject, Time: noon, Study: events.AccessStudy, Data: body})
	s.wait()
}

// grant replaces the partner's studies.
func (s *modelServer) grant(studies ...string) {
	s.t.Helper()
	p := access.Partner{ID: partnerID, Studies: studies, Secrets: secrets(), Enabled: true}
	s.announce(events.AccessPartner, p.EventSubject(), p)
}

// report publishes a version of a report. Number and time are those of the
// event.
func (s *modelServer) report(kind events.Kind, r fhir.Report) fhir.Report {
	s.t.Helper()
	key := events.StudyKey(r.Assessment.Study)
	r.Version = s.heads[key].Number + 1
	r.LastUpdated = noon.Add(time.Duration(r.Version) * time.Microsecond)
	if r.Signature.Time.IsZero() {
		r.Signature = events.Signature{User: "jdoe", Name: "Jane Doe, MD", Meaning: "I approve this", Time: r.LastUpdated}
	}
	body, err := r.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(events.Event{
		Type: events.DefaultNamespace.Type(kind), Subject: events.ReportSubject(r.Assessment.ID, r.Version), Time: r.LastUpdated, Study: key, Data: body,
	})
	return r
}
