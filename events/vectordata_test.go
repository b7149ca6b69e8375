package events_test

import (
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

var start = vectorHead{Sequence: events.FormatNumber(0), Hash: events.NoHash}

// study is a chain of five: lesions, report, amendment beyond ASCII and with
// line ends, the same bytes superseded, withdrawal.
func study() []events.Event {
	ns := events.DefaultNamespace
	first := `{"resourceType":"DiagnosticReport","id":"790","status":"final","conclusion":"Partial Response"}`
	amended := "{\"resourceType\":\"DiagnosticReport\",\"id\":\"790\",\r\n \"status\":\"final\",\"conclusion\":\"Ganzkörper-CT µm \u2028 🫁\"}\n"
	var chain []events.Event
	for _, s := range []struct {
		kind events.Kind
		body string
	}{
		{events.ObservationsSigned, `{"resourceType":"Bundle","type":"collection","entry":[]}`},
		{events.ReportSigned, first},
		{events.ReportAmended, amended},
		{events.ReportSuperseded, amended},
		{events.ReportWithdrawn, `{"resourceType":"DiagnosticReport","id":"790","status":"entered-in-error"}`},
	} {
		var end events.ChainHead
		if len(chain) > 0 {
			end = chain[len(chain)-1].ChainHead()
		}
		e := sampleEvent(ns, s.kind, "FHIR-T", end, s.body)
		if s.kind == events.ReportSuperseded {
			e.Subject = events.ReportSubject("790", 3) // the version that ends
			e.Seal(end)
		}
		chain = append(chain, e)
	}
	return chain
}

// newer is a chain in which a newer publisher has written events of kinds that
// this version does not know: what a known event comes before and after.
func newer(study string, kinds ...events.Kind) []events.Event {
	var chain []events.Event
	var end events.ChainHead
	for _, k := range kinds {
		e := sampleEvent(events.DefaultNamespace, k, study, end, `{"resourceType":"Basic"}`)
		if !k.Known() {
			e.Subject = "Basic/" + events.FormatNumber(e.Number)
			e.Seal(end)
		}
		end = e.ChainHead()
		chain = append(chain, e)
	}
	return chain
}

const (
	unknownReport   = events.Kind("diagnosticreport.retracted.v1")
	unknownAccess   = events.Kind("access.role.v1")
	optionalReport  = events.Kind("readercomment.added.optional.v1")
	optionalAccess  = events.Kind("access.contact.optional.v2")
	unknownAnnounce = events.Kind("access.paused.v1")
)

func goodChains() []vectorChain {
	chain := study()
	other := events.Namespace{Origin: "https://crit.example.org/signoff", TypePrefix: "org.example.crit."}
	encoded := sampleEvent(other, events.ReportSigned, events.StudyKey("Ä/7 *.>"), events.ChainHead{}, `{}`)
	encoded.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	retraced := encoded
	retraced.TraceParent = "00-00000000000000000000000000000001-0000000000000001-00"
	partner := sampleEvent(other, events.AccessPartner, events.AccessStudy, events.ChainHead{}, `{"id":"acme","studies":["FHIR-T"],"secrets":[],"enabled":true}`)
	key := sampleEvent(other, events.AccessKey, events.AccessStudy, partner.ChainHead(), `{"jwk":{},"from":"2026-01-31T12:00:00Z"}`)
	grant := `{"partner":"acme","study":"FHIR-T","token":"FHIR-T"}`
	granted := sampleEvent(other, events.AccessGranted, events.PartnerStudy("acme"), events.ChainHead{}, grant)
	revoked := sampleEvent(other, events.AccessRevoked, events.PartnerStudy("acme"), granted.ChainHead(), grant)
	late := events.ChainHead{Number: 12345678901234567890, Hash: hexSHA256("the event before")}
	whole := sampleEvent(other, events.ReportSigned, "late", late, `{}`)
	whole.Time = time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	whole.Seal(late)
	return []vectorChain{
		{Name: "a study from its first event", After: start, Events: vectors(chain...)},
		{Name: "the same study from the middle", After: headVector(chain[1].ChainHead()), Events: vectors(chain[2:]...)},
		{Name: "a study whose token is encoded, another origin and prefix", After: start, Events: vectors(encoded)},
		{Name: "the same event with another trace context, which no hash covers", After: start, Events: vectors(retraced)},
		{Name: "the internal study of partners and keys", After: start, Events: vectors(partner, key)},
		{Name: "the internal study that tells a partner of its grants: it has a source and a sequence of its own", After: start, Events: vectors(granted, revoked)},
		{Name: "a study with events of kinds that are not known, one of them optional", After: start,
			Events: vectors(newer("FHIR-T", events.ReportSigned, unknownReport, optionalReport, "observations.signed.v2", events.ReportAmended)...)},
		{Name: "the internal study of partners and keys with kinds that are not known, one of them optional", After: start,
			Events: vectors(newer(events.AccessStudy, events.AccessPartner, unknownAccess, optionalAccess, events.AccessKey)...)},
		{Name: "the internal study that tells a partner of its grants, with a kind that is not known", After: start,
			Events: vectors(newer(events.PartnerStudy("acme"), events.AccessGranted, unknownAnnounce, events.AccessRevoked)...)},
		{Name: "a number of 20 digits, a time of whole seconds", After: headVector(late), Events: vectors(whole)},
	}
}

func brokenChains() []vectorChain {
	c := study()
	replaced := c[1]
	replaced.Data = []byte(`{"resourceType":"DiagnosticReport","id":"790","status":"final","conclusion":"Complete Response"}`)
	replaced.Seal(c[0].ChainHead())
	chains := []vectorChain{
		broken("an event is missing", events.Gap, 2, c[0], c[1], c[3]),
		broken("the first event is missing", events.Gap, 0, c[1]),
		broken("two neighbours changed places", events.Gap, 1, c[0], c[2], c[1]),
		broken("an event came twice", events.Repeat, 2, c[0], c[1], c[1]),
		broken("an older event came again", events.Reorder, 3, c[0], c[1], c[2], c[0]),
		broken("another event of the same number", events.Altered, 2, c[0], c[1], replaced),
		broken("an event was replaced and hashed anew: its successor shows it", events.Altered, 2, c[0], replaced, c[2]),
	}
	n := newer("FHIR-T", events.ReportSigned, unknownReport, optionalReport, events.ReportAmended)
	other := n[1]
	other.Data = []byte("{}")
	chains = append(chains,
		broken("an event of a kind that is not known is missing", events.Gap, 1, n[0], n[2]),
		broken("an optional event is missing", events.Gap, 2, n[0], n[1], n[3]),
		broken("an event of a kind that is not known was altered", events.Altered, 1, n[0], other),
		broken("an event of a kind that is not known came twice", events.Repeat, 2, n[0], n[1], n[1]),
	)
	for _, a := range alterations {
		e := c[1]
		a.alter(&e)
		chains = append(chains, broken("altered "+a.what, events.Altered, 1, c[0], e))
	}
	return chains
}

// alterations are one for each thing that the hash covers.
var alterations = []struct {
	what  string
	alter func(e *events.Event)
}{
	{"body: one byte", func(e *events.Event) { e.Data = append([]byte(" "), e.Data...) }},
	{"body: none", func(e *events.Event) { e.Data = nil }},
	{"id", func(e *events.Event) { e.ID = "01941f29-7c00-7000-8000-000000000009" }},
	{"source", func(e *events.Event) { e.Source = "/other/ResearchStudy/FHIR-T" }},
	{"type", func(e *events.Event) { e.Type = events.DefaultNamespace.Type(events.ReportAmended) }},
	{"subject", func(e *events.Event) { e.Subject = events.ReportSubject("791", 2) }},
	{"time, by a microsecond", func(e *events.Event) { e.Time = e.Time.Add(time.Microsecond) }},
	{"datacontenttype", func(e *events.Event) { e.DataContentType = "application/json" }},
	{"study", func(e *events.Event) { e.Study = "FHIR-U" }},
	{"sequence", func(e *events.Event) { e.Number = 3 }},
	{"partitionkey", func(e *events.Event) { e.PartitionKey = "FHIR-T/164" }},
	{"previoushash", func(e *events.Event) { e.PreviousHash = events.NoHash }},
	{"hash", func(e *events.Event) { e.Hash = hexSHA256("anything") }},
}

func broken(name string, code events.Code, accepted int, chain ...events.Event) vectorChain {
	return vectorChain{Name: name, After: start, Accepted: &accepted, Code: code, Events: vectors(chain...)}
}

func headVector(h events.ChainHead) vectorHead {
	return vectorHead{Sequence: events.FormatNumber(h.Number), Hash: h.Hash}
}

func vectors(chain ...events.Event) []vectorEvent {
	out := make([]vectorEvent, 0, len(chain))
	for _, e := range chain {
		headers := make(map[string]string)
		for name, values := range e.Header() {
			headers[name] = values[0]
		}
		out = append(out, vectorEvent{Headers: headers, Body: string(e.Data), DigestText: digestText(headers, string(e.Data))})
	}
	return out
}
