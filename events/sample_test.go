package events_test

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
)

var sampleTime = time.Date(2026, 1, 31, 12, 0, 0, 123000, time.UTC)

// kinds are all known kinds.
var kinds = []events.Kind{
	events.ReportSigned, events.ReportAmended, events.ReportSuperseded, events.ReportWithdrawn,
	events.ObservationsSigned, events.AccessPartner, events.AccessKey, events.AccessAudited, events.AccessGranted, events.AccessRevoked,
}

// kindsAndUnknown are kinds of which some are not known.
var kindsAndUnknown = append([]events.Kind{unknownReport, unknownAccess, optionalReport, optionalAccess}, kinds...)

// studyOf returns study, or the internal study that events of the kind belong to.
func studyOf(k events.Kind, study string) string {
	switch k {
	case events.AccessPartner, events.AccessKey, events.AccessAudited, unknownAccess, optionalAccess:
		return events.AccessStudy
	case events.AccessGranted, events.AccessRevoked:
		return events.PartnerStudy("acme")
	default:
		return study
	}
}

// sampleEvent returns a valid event of the kind, the next one of the study after a
// chain head.
func sampleEvent(ns events.Namespace, k events.Kind, study string, after events.ChainHead, body string) events.Event {
	n := after.Number + 1
	e := events.Event{
		ID:              fmt.Sprintf("01941f29-7c00-7000-8000-%012d", n),
		Source:          ns.Source(study),
		Type:            ns.Type(k),
		Subject:         events.ReportSubject("790", n),
		Time:            sampleTime.Add(time.Duration(n) * time.Second),
		DataContentType: k.MediaType(),
		Study:           study,
		PartitionKey:    study + "/163",
		Data:            []byte(body),
	}
	switch k {
	case events.AccessPartner:
		e.Subject, e.PartitionKey = "Partner/acme", study
	case events.AccessKey:
		e.Subject, e.PartitionKey = "Key/kid-1", study
	case events.AccessAudited:
		e.Subject, e.PartitionKey = "Audit/7", study+"/Audit"
	case events.AccessGranted, events.AccessRevoked:
		e.Subject, e.PartitionKey = "ResearchStudy/FHIR-T", study
	case events.ObservationsSigned:
		e.Subject = events.ReportSubject("790", n+1)
	}
	e.Seal(after)
	return e
}

// attributes draws values that an attribute may have.
func attributes(most int) *rapid.Generator[string] {
	var allowed []rune
	for r := '!'; r <= '~'; r++ {
		if r != '"' && r != '%' {
			allowed = append(allowed, r)
		}
	}
	return rapid.StringOfN(rapid.SampledFrom(allowed), 1, most, most)
}

// isStudy reports whether a study is not internal.
func isStudy(study string) bool { return !strings.HasPrefix(study, "_") }

// times draws instants to the microsecond.
func times() *rapid.Generator[time.Time] {
	first, last := time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	return rapid.Map(rapid.Int64Range(first.UnixMicro(), last.UnixMicro()), func(us int64) time.Time { return time.UnixMicro(us).UTC() })
}

// anyEvent draws valid sealed events.
func anyEvent() *rapid.Generator[events.Event] {
	return rapid.Custom(func(t *rapid.T) events.Event {
		ns := rapid.SampledFrom([]events.Namespace{
			events.DefaultNamespace, {Origin: "https://example.org:8443/a", TypePrefix: "x."}, {Origin: "urn:a", TypePrefix: "org.ex-ample.1."},
		}).Draw(t, "namespace")
		kind := rapid.SampledFrom(kindsAndUnknown).Draw(t, "kind")
		study := studyOf(kind, events.StudyKey(rapid.StringN(1, 40, 120).Filter(isStudy).Draw(t, "study")))
		e := events.Event{
			ID:              attributes(60).Draw(t, "id"),
			Source:          ns.Source(study),
			Type:            ns.Type(kind),
			Subject:         attributes(60).Draw(t, "subject"),
			Time:            times().Draw(t, "time"),
			DataContentType: kind.MediaType(),
			Study:           study,
			PartitionKey:    attributes(60).Draw(t, "partitionkey"),
			TraceParent:     rapid.SampledFrom([]string{"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}).Draw(t, "traceparent"),
			Data:            rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "data"),
		}
		e.Seal(events.ChainHead{})
		return e
	})
}
