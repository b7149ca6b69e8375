package api_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

func where(column readmodel.Column, values ...readmodel.Comparison) readmodel.Condition {
	return readmodel.Condition{Column: column, Any: values}
}

func text(value string) readmodel.Comparison {
	return readmodel.Comparison{Op: readmodel.Eq, Text: value}
}

func during(op readmodel.Op, from, until string) readmodel.Comparison {
	parse := func(s string) time.Time {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			panic(err)
		}
		return t
	}
	return readmodel.Comparison{Op: op, Period: events.Period{From: parse(from), Until: parse(until)}}
}

const assessmentID = "https%3A%2F%2Ffhir.mskcc.org%2Fstructure-definitions%2F%23AssessmentId"

// The query of the read model and the self link for each parameter. An empty link
// means the query's own text.
func TestParameters(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	january := func(op readmodel.Op) readmodel.Comparison {
		return during(op, "2014-01-01T00:00:00Z", "2014-02-01T00:00:00Z")
	}
	date := func(c ...readmodel.Comparison) []readmodel.Condition {
		return []readmodel.Condition{where(readmodel.ColumnDate, c...)}
	}
	by := func(column readmodel.Column, descending bool) readmodel.Order {
		return readmodel.Order{Column: column, Descending: descending}
	}
	for _, c := range []struct {
		name  string
		query string
		want  readmodel.Query
		link  string
	}{
		{name: "nothing", query: ""},
		{name: "an id", query: "_id=790", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"))}}},
		{name: "an id under its other name", query: "id=790", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"))}}},
		{name: "an id in the seed's spelling", query: "_Id=790", link: "_id=790", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"))}}},
		{name: "any of several ids", query: "_id=790%2C792", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"), text("792"))}}},
		{name: "commas unescaped", query: "_id=790,792", link: "_id=790%2C792", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"), text("792"))}}},
		{name: "a parameter twice is and", query: "_id=790&_id=792", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790")), where(readmodel.ColumnID, text("792"))}}},
		{name: "the same twice is once", query: "_id=790&_ID=790", link: "_id=790", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"))}}},
		{name: "escaped characters", query: `name=a\,b\$c\|d\\e,f`, link: "name=a%5C%2Cb%5C%24c%5C%7Cd%5C%5Ce%2Cf", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnName, text(`a,b$c|d\e`), text("f"))}}},
		{name: "a plus sign is a space", query: "name=Follow-up+1", link: "name=Follow-up%201", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnName, text("Follow-up 1"))}}},
		{name: "a conclusion", query: "conclusion=Non-CR%2FNon-PD", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnConclusion, text("Non-CR/Non-PD"))}}},
		{name: "a case", query: "caseid=0163", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnCase, text("163"))}}},
		{name: "a subject", query: "subject=10081007", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnSubject, text("10081007"))}}},
		{name: "a subject by reference", query: "subject=Patient%2F10081007", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnSubject, text("10081007"))}}},
		{name: "a subject by reference, as reports write it", query: "patient=Patient%2FA%2520B", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnSubject, text("A B"))}}},
		{name: "a subject by absolute reference", query: "subject=" + url.QueryEscape(publicURL+api.DefaultBasePath+"/Patient/A%20B"), want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnSubject, text("A B"))}}},
		{name: "a subject on another server", query: "subject=http%3A%2F%2Fexample.org%2FPatient%2F1", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnSubject, text("http://example.org/Patient/1"))}}},
		{name: "a bare subject that looks escaped", query: "patient=A%2520B", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnSubject, text("A%20B"))}}},

		{name: "a month as the API documents it", query: "date=01%2F2014", want: readmodel.Query{Where: date(january(readmodel.Eq))}},
		{name: "a day as the API documents it", query: "date=ge01/31/2014", link: "date=ge01%2F31%2F2014", want: readmodel.Query{Where: date(during(readmodel.Ge, "2014-01-31T00:00:00Z", "2014-02-01T00:00:00Z"))}},
		{name: "a month", query: "date=eq2014-01", want: readmodel.Query{Where: date(january(readmodel.Eq))}},
		{name: "a year", query: "date=ne2014", want: readmodel.Query{Where: date(during(readmodel.Ne, "2014-01-01T00:00:00Z", "2015-01-01T00:00:00Z"))}},
		{name: "every other prefix", query: "date=gt2014-01%2Clt2014-01%2Cle2014-01", want: readmodel.Query{Where: date(january(readmodel.Gt), january(readmodel.Lt), january(readmodel.Le))}},
		{name: "an instant", query: "date=2014-01-01T10%3A00%3A00.5%2B02%3A00", want: readmodel.Query{Where: date(during(readmodel.Eq, "2014-01-01T08:00:00.5Z", "2014-01-01T08:00:00.6Z"))}},
		{name: "a zone with its plus unescaped", query: "date=2014-01-01T10:00:00+02:00", link: "date=2014-01-01T10%3A00%3A00%2B02%3A00", want: readmodel.Query{Where: date(during(readmodel.Eq, "2014-01-01T08:00:00Z", "2014-01-01T08:00:01Z"))}},
		{name: "a time without zone is UTC", query: "date=2014-01-01T10%3A00", want: readmodel.Query{Where: date(during(readmodel.Eq, "2014-01-01T10:00:00Z", "2014-01-01T10:01:00Z"))}},
		{name: "issued", query: "issued=lt2014-01", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnIssued, january(readmodel.Lt))}}},
		{name: "_lastUpdated", query: "_lastupdated=gt2014-01", link: "_lastUpdated=gt2014-01", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnLastUpdated, january(readmodel.Gt))}}},
		{name: "_since", query: "_since=2014-01", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnLastUpdated, january(readmodel.Ge))}}},

		{name: "an identifier", query: "identifier=790", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"))}}},
		{name: "an identifier with its system", query: "identifier=" + assessmentID + "%7C790", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"))}}},
		{name: "an identifier without a system", query: "identifier=%7C790", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID)}}},
		{name: "an identifier of another system", query: "identifier=urn%3Ax%7C790", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID)}}},
		{name: "any identifier of the system", query: "identifier=" + assessmentID + "%7C"},
		{name: "any identifier of another system", query: "identifier=urn%3Ax%7C", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID)}}},
		{name: "any of several identifiers", query: "identifier=790%2C%7C791%2C" + assessmentID + "%7C792", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("790"), text("792"))}}},
		{name: "any of several identifiers, one of them any", query: "identifier=790%2C" + assessmentID + "%7C"},
		{name: "an identifier that is no id", query: "identifier=a%20%2F%20b", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("a / b"))}}},
		{name: "an identifier with an escaped bar", query: "identifier=a%5C%7Cb", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("a|b"))}}},
		{name: "a status", query: "status=final"},
		{name: "a status with its system", query: "status=http%3A%2F%2Fhl7.org%2Ffhir%2Fdiagnostic-report-status%7Cfinal"},
		{name: "a status without a system", query: "status=%7Cfinal", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID)}}},
		{name: "another status", query: "status=amended", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID)}}},
		{name: "a status in another case", query: "status=Final", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID)}}},
		{name: "any of several statuses", query: "status=amended%2Cfinal"},
		{name: "two statuses", query: "status=final&status=amended", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID)}}},

		{name: "an order", query: "_sort=-date%2Csubject", want: readmodel.Query{Sort: []readmodel.Order{by(readmodel.ColumnDate, true), by(readmodel.ColumnSubject, false)}}},
		{name: "every order", query: "_sort=_id%2Cdate%2Cissued%2Csubject%2C_lastUpdated%2Cname%2Cconclusion%2C-caseid", want: readmodel.Query{Sort: []readmodel.Order{
			by(readmodel.ColumnID, false), by(readmodel.ColumnDate, false), by(readmodel.ColumnIssued, false), by(readmodel.ColumnSubject, false),
			by(readmodel.ColumnLastUpdated, false), by(readmodel.ColumnName, false), by(readmodel.ColumnConclusion, false), by(readmodel.ColumnCase, true)}}},
		{name: "Observations", query: "_include=DiagnosticReport%3Aresult", want: readmodel.Query{Include: true}},
		{name: "Observations under their type", query: "_include=DiagnosticReport:result:Observation", link: "_include=DiagnosticReport%3Aresult", want: readmodel.Query{Include: true}},
		{name: "Observations twice", query: "_include=DiagnosticReport:result:Observation&_include=DiagnosticReport:result", link: "_include=DiagnosticReport%3Aresult", want: readmodel.Query{Include: true}},
		{name: "a total of any kind", query: "_total=none"},
		{name: "a format", query: "_format=application%2Ffhir%2Bjson"},
		{name: "a format with its plus unescaped", query: "_format=application/fhir+json", link: "_format=application%2Ffhir%2Bjson"},
		{name: "a format with a space", query: "_format=json%20", link: "_format=json"},
		{name: "formats with spaces", query: "_format=%20application/fhir%20json%20,%20xml", link: "_format=application%2Ffhir%2Bjson%2Cxml"},
		{name: "empty parameters", query: "date=&_id=&name=&_sort=&_count=&page&status=&identifier=&_summary=&_elements=&_total&_format=&x-partnerid=&=&id=1", link: "id=1", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("1"))}}},
		{name: "empty repetitions", query: "_count=&_count=7&_count=&researchstudy=", link: "_count=7", want: readmodel.Query{Limit: 7}},
		{name: "a page size", query: "_count=7", want: readmodel.Query{Limit: 7}},
		{name: "a page size above the maximum", query: "_count=2147483647", link: "_count=1000", want: readmodel.Query{Limit: 1000}},
		{name: "the partner", query: "x-partnerid=acme"},
		{name: "the order of the query does not matter", query: "x-partnerid=acme&_count=7&_sort=date&date=2014-01&_id=1", link: "_id=1&date=2014-01&_sort=date&_count=7&x-partnerid=acme", want: readmodel.Query{
			Where: []readmodel.Condition{where(readmodel.ColumnID, text("1")), where(readmodel.ColumnDate, january(readmodel.Eq))},
			Sort:  []readmodel.Order{by(readmodel.ColumnDate, false)}, Limit: 7}},
		{name: "unknown parameters are left out", query: "studyid=4&_id=1&_has:Observation:x=1&.x=1&study.id=x&=&;", link: "_id=1", want: readmodel.Query{Where: []readmodel.Condition{where(readmodel.ColumnID, text("1"))}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := s.get(t, "/DiagnosticReport?"+strings.TrimSuffix(c.query+"&", "&")+"&researchstudy=S1").bundle(t)
			c.want.Study = "S1"
			if c.want.Limit == 0 {
				c.want.Limit = 50
			}
			if diff := cmp.Diff(c.want, s.reader.lastQuery(t), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(readmodel.Query{}, "Join")); diff != "" {
				t.Errorf("query of the read model (-want +got):\n%s", diff)
			}
			link := c.link
			if link == "" {
				link = c.query
			}
			want := "self " + strings.ReplaceAll("researchstudy=S1&"+link+"&page=1", "&&", "&")
			if got := b.links(t)[0]; got != want {
				t.Errorf("link is\n%s, want\n%s", got, want)
			}
		})
	}
}

func TestMalformedValues(t *testing.T) {
	s := serve(t, api.Config{}, "S1", "S2")
	for _, query := range []string{
		"date=2014-13", "date=2014-02-30", "date=13/2014", "date=02/30/2014", "date=1/2/2014", "date=2014-1-1", "date=ge", "date=GE2014",
		"date=xx2014", "date=gege2014", "date=2014,", "date=,2014", "date=2014-01-01T10", "date=2014-01-01T10:00:00.", "date=2014-01-01T10:00:00.0000000000x", "date=2014-01-01T25:00:00.0000000000Z", "date=2014-01-01T10:00:00%2B15:00", "date=2014-01-01T25:00:00Z",
		"date=99999", "date=0000", "date=%00", "_since=ge2014", "issued=yesterday", "_lastUpdated=null",
		"_id=a/b", "_id=a_b", "_id=1,,2", "id=%20", "_id=" + strings.Repeat("1", 65), `name=a\b`, `name=a\`, "subject=Patient/", "caseid=1.0", "caseid=-1",
		"caseid=2147483648", "caseid=gt1", "caseid=%2B1", "caseid=%D9%A1",
		"identifier=%7C", "identifier=a%7Cb%7Cc", `identifier=a\b`, "identifier=1,", "identifier=,1", "status=%7C", "status=final,", `status=\`,
		"page=0", "page=-1", "page=1.0", "page=2147483648", "page=99999999999999999999", "page=x", "page=%2B1", "page=1,2", "page=1&page=2",
		"_count=-1", "_count=1.5", "_count=2147483648", "_count=all", "_count=1&_count=2",
		"_sort=patient", "_sort=date,", "_sort=--date", "_sort=date,-date", "_sort=date&_sort=name", "_total=exact", "_summary=maybe",
		"_elements=bogus", "_elements=id,", "_summary=true&_elements=id", "_format=json&_format=application/json",
		"name=%", "name=%4", "name=%zz", "name=%ff", "name=%ed%a0%80", "other=%zz", "%ff=1", "researchstudy=S2", "researchstudy=S1,S2",
		"researchstudy=%ff", "_id=1" + strings.Repeat(",1", 500),
	} {
		t.Run(query[:min(len(query), 40)], func(t *testing.T) {
			a := s.get(t, "/DiagnosticReport?researchstudy=S1&"+query)
			if code, text := a.outcome(t); a.status != 400 || code != "value" && code != "invalid" {
				t.Errorf("got %d %s %q", a.status, code, text)
			}
		})
	}
	for _, query := range []string{
		"date=sa2014", "date=eb2014", "date=ap2014", "date:missing=true", "_id:exact=1", "_ID:not=1", "subject:Patient=1", "name:contains=x", "_sort:x=date",
		"page:x=1", "_count:max=1", "researchstudy:exact=S1", "_format:x=json", "x-partnerid:x=acme", "_id:=1", "date:missing=", "identifier:of-type=a", "status:not=final",
		"subject.name=x", "Subject.Name=x", "subject.identifier=s%7C1", "subject:Patient.name=x", "patient.general-practitioner.name=x", "subject.=x", "subject.name=", "_id.x=1", "page.x=1",
	} {
		t.Run(query, func(t *testing.T) {
			a := s.get(t, "/DiagnosticReport?researchstudy=S1&"+query)
			if code, text := a.outcome(t); a.status != 400 || code != "not-supported" {
				t.Errorf("got %d %s %q", a.status, code, text)
			}
		})
	}
}

func TestStrictHandlingRefusesUnknownParameters(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	for prefer, status := range map[string]int{
		"handling=strict": 400, "Handling=Strict": 400, `return=minimal, handling="strict"; x=1`: 400,
		`x="a, handling=strict"`: 200, `x="a", handling=strict`: 400, "respond-async; handling=strict": 200,
		"handling=lenient": 200, "return=minimal": 200, "handling=lenient, handling=strict": 200, "strict": 200,
	} {
		t.Run(prefer, func(t *testing.T) {
			a := s.get(t, "/DiagnosticReport?researchstudy=S1&studyid=4", header("Prefer", prefer))
			if a.status != status {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			if status == 400 {
				if code, text := a.outcome(t); code != "not-supported" || !strings.Contains(text, "studyid") {
					t.Errorf("got %s %q", code, text)
				}
			}
		})
	}
	if a := s.get(t, "/DiagnosticReport?researchstudy=S1&studyid=&x=", header("Prefer", "handling=strict")); a.status != 200 {
		t.Errorf("with empty parameters: %d %s", a.status, a.body)
	}
	if a := s.get(t, "/DiagnosticReport?researchstudy=S1&x-partnerid=acme&page=1&_format=json", header("Prefer", "handling=strict")); a.status != 200 {
		t.Errorf("with known parameters only: %d %s", a.status, a.body)
	}
}

func TestStudyIDs(t *testing.T) {
	const composed, decomposed = "\u00c9tude 1", "E\u0301tude 1"
	for _, c := range []struct {
		name, query, study string
	}{
		{"decomposed text is the same number", url.QueryEscape(decomposed), composed},
		{"as links write it", "%C3%89tude%201", composed},
		{"a comma as it stands", "A%2CB", "A,B"},
		{"a comma in FHIR's escapes", `A\,B`, "A,B"},
		{"a backslash as it stands", `A%5CB`, `A\B`},
		{"the same twice", "S1&researchstudy=S1", "S1"},
		{"any of one", "S1,S1", "S1"},
		{"a name without regard to case", "S1&ResearchStudy=S1", "S1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, api.Config{}, c.study)
			b := s.get(t, "/DiagnosticReport?RESEARCHSTUDY="+c.query).bundle(t)
			if b.Identifier.Value != c.study {
				t.Errorf("the Bundle is about %q", b.Identifier.Value)
			}
			if got := s.reader.lastQuery(t).Study; got != events.StudyKey(c.study) {
				t.Errorf("study key %s", got)
			}
			again := s.get(t, strings.TrimPrefix(b.Link[0].URL, publicURL+api.DefaultBasePath)).bundle(t)
			if diff := cmp.Diff(b, again); diff != "" {
				t.Errorf("the self link has another answer:\n%s", diff)
			}
		})
	}
}
