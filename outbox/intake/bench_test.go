package intake_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// BenchmarkRead reads files of a thousand records, and by turns decodes the
// same JSON with encoding/json, which checks nothing. It reports the best run of
// each per record, and their ratio.
func BenchmarkRead(b *testing.B) {
	const records = 1000
	report, observations := resources(b, goodAssessment())
	var lines, resources []string
	for i := range records {
		id := fmt.Sprint(1000 + i)
		lines = append(lines, oneLine(id))
		resources = append(resources, strings.ReplaceAll(report, "790", id))
		for _, o := range observations {
			resources = append(resources, strings.ReplaceAll(o, "790", id))
		}
	}
	for _, file := range []struct {
		name, text string
		into       func() any
	}{
		{"a.ndjson", strings.Join(lines, "\n"), func() any { return new(events.Assessment) }},
		{"a.json", bundleOf(resources...), func() any { return new(any) }},
	} {
		b.Run(file.name, func(b *testing.B) {
			ours, baseline := time.Duration(1<<62), time.Duration(1<<62)
			for b.Loop() {
				began := time.Now()
				read := 0
				err := intake.ReadFrom(b.Context(), strings.NewReader(file.text), file.name, func(r intake.Record) error {
					read++
					if r.Err != nil {
						return r.Err
					}
					return nil
				})
				if err != nil || read != records {
					b.Fatal(read, err)
				}
				ours = min(ours, time.Since(began))
				began = time.Now()
				for decoder := json.NewDecoder(strings.NewReader(file.text)); ; {
					if err := decoder.Decode(file.into()); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				baseline = min(baseline, time.Since(began))
			}
			b.ReportMetric(0, "ns/op") // of both together: no figure of its own
			b.ReportMetric(float64(ours)/records, "ns/ours")
			b.ReportMetric(float64(baseline)/records, "ns/baseline")
			b.ReportMetric(float64(baseline)/float64(ours), "baseline/ours")
		})
	}
}
