package events_test

import (
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestSubjectsOfTheStream(t *testing.T) {
	for kind, want := range map[events.Kind]string{
		events.ReportSigned:       "crit.v1.x-58.DiagnosticReport.signed",
		events.ReportAmended:      "crit.v1.x-58.DiagnosticReport.amended",
		events.ReportSuperseded:   "crit.v1.x-58.DiagnosticReport.superseded",
		events.ReportWithdrawn:    "crit.v1.x-58.DiagnosticReport.withdrawn",
		events.ObservationsSigned: "crit.v1.x-58.Observation.signed",
		events.AccessPartner:      "crit.internal.access",
		events.AccessKey:          "crit.internal.access",
		events.AccessAudited:      "crit.internal.access",
		events.AccessGranted:      "crit.partner.acme.access",
		events.AccessRevoked:      "crit.partner.acme.access",
	} {
		e := events.Event{Type: events.DefaultNamespace.Type(kind), Study: studyOf(kind, events.StudyKey("*"))}
		if got := e.NATSSubject(); got != want {
			t.Errorf("%s is stored as %s, want %s", kind, got, want)
		}
		partners := strings.HasPrefix(want, strings.TrimSuffix(events.StudySubjects(e.Study), ">"))
		if partners == strings.HasPrefix(string(kind), "access.") {
			t.Errorf("%s within %s: %t", want, events.StudySubjects(e.Study), partners)
		}
	}
}

func TestNoEventIsStoredWhereAPartnerSeesItThatMayNot(t *testing.T) {
	for _, kind := range kindsAndUnknown {
		for _, study := range []string{"FHIR-T", events.AccessStudy, events.PartnerStudy("acme"), events.PartnerStudy("*"), events.PartnerStudy("a.b"), "_partner", "_x", ""} {
			e := sampleEvent(events.DefaultNamespace, kind, study, events.ChainHead{}, "{}")
			valid := study == studyOf(kind, "FHIR-T") || !kind.Known() && strings.HasPrefix(string(kind), "access.") && study == events.PartnerStudy("acme")
			if err := e.Validate(); (err == nil) != valid || err != nil && events.CodeOf(err) != events.Invalid {
				t.Errorf("%s in %q: %v", kind, study, err)
			}
			if strings.HasPrefix(e.NATSSubject(), "crit.partner.") && (!valid || study != events.PartnerStudy("acme")) {
				t.Errorf("%s in %q is stored as %s", kind, study, e.NATSSubject())
			}
		}
	}
	for key, want := range map[string]bool{events.AccessStudy: true, events.PartnerStudy("acme"): true, "FHIR-T": false, "x-_": false} {
		if events.InternalStudy(key) != want {
			t.Errorf("InternalStudy(%q) is %t", key, !want)
		}
	}
	if got := events.DefaultNamespace.Source(events.PartnerStudy("acme")); got != "/signoff/Partner/acme" {
		t.Error(got)
	}
}

func TestKinds(t *testing.T) {
	for eventType, want := range map[string]events.Kind{
		"org.mskcc.crit.diagnosticreport.signed.v1": events.ReportSigned,
		"x.access.key.v1":                 events.AccessKey,
		"diagnosticreport.signed.v1":      "",
		"x.diagnosticreport.signed.v2":    "diagnosticreport.signed.v2", // not known
		"x.diagnosticreport.signed.v1.y":  "",
		"x.Diagnosticreport.signed.v1":    "",
		"x.diagnosticreport.signed.v1.":   "",
		"":                                "",
		"...":                             "",
		"x.y.observations.signed.v1":      events.ObservationsSigned,
		"xobservations.signed.v1":         "",
		"org.x.diagnosticreport.removed.": "",
	} {
		if got := (events.Event{Type: eventType}).Kind(); got != want {
			t.Errorf("%q is of kind %q, want %q", eventType, got, want)
		}
	}
	if !events.ReportAmended.Publishes() || events.ReportWithdrawn.Publishes() || events.ObservationsSigned.Publishes() {
		t.Error("Publishes")
	}
	if events.AccessKey.MediaType() != events.MediaJSON || events.ReportSuperseded.MediaType() != events.MediaFHIR {
		t.Error("MediaType")
	}
}

func TestReportIDs(t *testing.T) {
	subject := events.ReportSubject("a.B-7", 12)
	if id, version, ok := (events.Event{Subject: subject}).ReportID(); id != "a.B-7" || version != 12 || !ok {
		t.Errorf("%s returns %q, %d, %t", subject, id, version, ok)
	}
	for _, subject := range []string{
		"", "DiagnosticReport/790", "DiagnosticReport//_history/1", "DiagnosticReport/790/_history/", "DiagnosticReport/790/_history/0",
		"DiagnosticReport/790/_history/01", "DiagnosticReport/790/_history/-1", "DiagnosticReport/790/_history/1/2", "DiagnosticReport/7_0/_history/1",
		"Partner/acme", "DiagnosticReport/790/_history/99999999999999999999",
	} {
		if id, version, ok := (events.Event{Subject: subject}).ReportID(); ok || id != "" || version != 0 {
			t.Errorf("%q returns %q, %d, %t", subject, id, version, ok)
		}
	}
}

func TestNamespaces(t *testing.T) {
	for _, ns := range []events.Namespace{
		events.DefaultNamespace, {Origin: "https://example.org/signoff", TypePrefix: "org.example."}, {Origin: "urn:example:a", TypePrefix: "x-1."},
	} {
		if err := ns.Validate(); err != nil {
			t.Errorf("%v: %v", ns, err)
		}
		for _, k := range kinds {
			if _, err := sampleEvent(ns, k, studyOf(k, "S"), events.ChainHead{}, "{}").CloudEvent(); err != nil {
				t.Errorf("%v, %s: %v", ns, k, err)
			}
		}
	}
	for _, origin := range []string{"", "/", "/a/", "a b", "/ä", `/"`, "/%41", ":a", "http://[", "/a?b", "/a#b", "/\n", strings.Repeat("a", 201)} {
		if err := (events.Namespace{Origin: origin, TypePrefix: "x."}).Validate(); events.CodeOf(err) != events.Invalid {
			t.Errorf("origin %q returns %v", origin, err)
		}
	}
	for _, prefix := range []string{"", ".", "org.example", "Org.example.", "org..example.", "org.example. ", "org.*.", "ä.", strings.Repeat("a", 200) + "."} {
		if err := (events.Namespace{Origin: "/a", TypePrefix: prefix}).Validate(); events.CodeOf(err) != events.Invalid {
			t.Errorf("prefix %q returns %v", prefix, err)
		}
	}
}

func TestSignatures(t *testing.T) {
	for name, check := range map[string]func(string) error{
		"meaning": events.ValidMeaning, "reason": events.ValidReason, "printed name": events.ValidPrintedName,
	} {
		if err := check("Dr. Åse Ngô, MD"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, text := range []string{"", " ", "a\nb", "a\x1b[2J", "\xff", strings.Repeat("a", 201)} {
			if err := check(text); events.CodeOf(err) != events.Invalid {
				t.Errorf("%s %q returns %v", name, text, err)
			}
		}
	}
	for user, want := range map[string]bool{"pi@example.org": true, "A.b_c-1": true, "": false, "a b": false, "ä": false, "a\n": false, strings.Repeat("a", 65): false} {
		if events.ValidUser(user) != want {
			t.Errorf("ValidUser(%q) is %t", user, !want)
		}
	}
}
