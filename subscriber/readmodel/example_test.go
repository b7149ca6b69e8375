package readmodel_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// A read model follows the stream in the background, and is searched meanwhile.
func Example() {
	dir, js, closeServer := serverWithReports(3) // stands for the publisher's server
	defer closeServer()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	model, err := readmodel.Open(ctx, dir+"/readmodel.db", quiet)
	if err != nil {
		log.Fatal(err)
	}
	running := make(chan error, 1)
	go func() { running <- model.Run(ctx, js) }()

	if err := model.WaitFor(ctx, 3); err != nil { // until the third message is applied
		log.Fatal(err)
	}
	page, err := model.Search(ctx, readmodel.Query{
		Study: events.StudyKey("C3861001"),
		Where: []readmodel.Condition{
			{Column: readmodel.ColumnSubject, Any: []readmodel.Comparison{{Text: "10081007"}}},
		},
		Sort:  []readmodel.Order{{Column: readmodel.ColumnLastUpdated, Descending: true}},
		Limit: 2,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page.Total, "reports, as of number", page.ChainHead.Number)
	for _, r := range page.Reports {
		fmt.Println("report", r.ID, "version", r.Version)
	}

	cancel()
	if err := <-running; err != nil {
		log.Fatal(err)
	}
	if err := model.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 3 reports, as of number 3
	// report 1002 version 3
	// report 1001 version 2
}

// Rebuild derives a read model again from the whole stream. A process that has the
// file open continues from the new content.
func ExampleRebuild() {
	dir, js, closeServer := serverWithReports(3)
	defer closeServer()

	ctx, path := context.Background(), dir+"/readmodel.db"
	if err := readmodel.Rebuild(ctx, path, js, quiet, func(done, total uint64) {
		if done == total {
			fmt.Println("read", done, "events")
		}
	}); err != nil {
		log.Fatal(err)
	}
	model, err := readmodel.Open(ctx, path, quiet)
	if err != nil {
		log.Fatal(err)
	}
	report, err := model.Report(ctx, "1001")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("report", report.ID, "version", report.Version, "available:", report.Available)
	if err := model.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// read 3 events
	// report 1001 version 2 available: true
}

// serverWithReports starts an embedded server whose stream has the events of n
// reports of study C3861001. It panics where a test would fail.
func serverWithReports(n int) (dir string, js jetstream.JetStream, closeServer func()) {
	dir = must(os.MkdirTemp("", "signoff-example-*"))
	server := must(natsd.Start(natsd.Config{Dir: dir, Listen: "127.0.0.1:0", Log: quiet.Log}))
	writer, reader := must(server.Connect(natsd.Publisher)), must(server.Connect(natsd.Reader))
	published := must(jetstream.New(writer))
	must(publisher.EnsureStream(context.Background(), published, publisher.StreamConfig{}))
	for _, e := range (&study{number: "C3861001"}).many(n) {
		msg := &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
		must(published.PublishMsg(context.Background(), msg))
	}
	return dir, must(jetstream.New(reader)), func() {
		writer.Close()
		reader.Close()
		server.Shutdown()
		_ = os.RemoveAll(dir) // it is temporary anyway
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
