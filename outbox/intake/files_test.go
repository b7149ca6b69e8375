package intake_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

func TestPagesThatAreNotWholeAreRefused(t *testing.T) {
	report, observations := resources(t, goodAssessment())
	tag := `"meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}],`
	cut := strings.Replace(report, `"meta":{`, tag, 1)
	page := func(before, after string) string {
		return strings.Replace(bundleOf(report, observations[0], observations[1]), before, after, 1)
	}
	const why = ": the resource is tagged SUBSETTED: it is not whole; fetch it without _elements and _summary"
	const address = ": the Bundle was fetched with _elements or _summary: it is not whole; fetch it without them"
	for _, c := range []struct{ name, text, want string }{
		{"a report", cut, "a.json:1: meta" + why},
		{"a report in a Bundle", bundleOf(cut), "a.json:2: entry[0].resource.meta" + why},
		{"a report in an array", "[" + cut + "]", "a.json:1: meta" + why},
		{"an Observation in a Bundle", bundleOf(report, strings.Replace(observations[0], `"meta":{`, tag, 1)), "a.json:3: entry[1].resource.meta" + why},
		{"a Bundle", page(`"type"`, `"meta":{"tag":[{"code":"OTHER"},{"code":"SUBSETTED","display":"x"}]},"type"`), "a.json:1: meta" + why},
		{"a tag that is no list", page(`"type"`, `"meta":{"tag":{"code":"SUBSETTED"}},"type"`), "a.json:1: meta" + why},
		{"a tag behind the entries", page("\n]}", "\n],\"meta\":{\"tag\":[{\"code\":\"SUBSETTED\"}]}}"), "a.json:5: meta" + why},
		{"the address of a page with _elements", page(`"type"`, `"link":[{"relation":"self","url":"http://x/y?_elements=identifier&a=b"}],"type"`), "a.json:1: link" + address},
		{"the address of a page with _summary", page(`"type"`, `"link":[{"relation":"self","url":"http://x/y?_summary=text"}],"type"`), "a.json:1: link" + address},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := results(read(t, "a.json", c.text))
			if len(got) == 0 || got[0] != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			for _, r := range read(t, "a.json", c.text) {
				if r.Err == nil {
					t.Errorf("%s is taken", r.Place())
				}
			}
		})
	}
	for name, text := range map[string]string{
		"another tag":                page(`"type"`, `"meta":{"tag":[{"code":"OTHER"}]},"type"`),
		"the word as text":           strings.Replace(report, "Standard 5mm", "SUBSETTED", 1),
		"a page with _summary=false": page(`"type"`, `"link":[{"relation":"self","url":"http://x/y?_summary=false"},{"relation":"next","url":"y?_elements=x"}],"type"`),
	} {
		t.Run(name+" is taken", func(t *testing.T) {
			if got := results(read(t, "a.json", text)); len(got) != 1 || strings.Contains(got[0], "refused") || !strings.HasSuffix(got[0], " 790") {
				t.Error(got)
			}
		})
	}
}

func TestAnEntryAboutTheSearchIsNoRecord(t *testing.T) {
	report, observations := resources(t, goodAssessment())
	outcome := `{"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"processing"}]},"search":{"mode":"outcome"}}`
	text := strings.Replace(bundleOf(report, observations[0], observations[1]), `"entry":[`, `"entry":[`+outcome+",", 1)
	text = strings.Replace(text, "\n]}", ",{\"search\":{\"mode\":\"outcome\"},\"fullUrl\":\"urn:x\"}\n]}", 1)
	if diff := cmp.Diff([]string{"a.json:2 790"}, results(read(t, "a.json", text))); diff != "" {
		t.Error(diff)
	}
	without := strings.Replace(text, `,"search":{"mode":"outcome"}`, "", 1)
	if got := results(read(t, "a.json", without)); got[0] != "a.json:1: entry[0].resource.resourceType: OperationOutcome cannot be imported; a DiagnosticReport can, and in a Bundle the Observations of its lesions" {
		t.Error(got)
	}
}

func TestNoBreakSpaces(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"within free text":       {`"Lung"`, "\"Left\u00a0lung\"", "a.json:1 790"},
		"a thin one":             {"Standard 5mm", "Standard 5\u2009mm", "a.json:1 790"},
		"at the end of a text":   {`"Lung"`, "\"Left lung\u00a0\"", "a.json:22: lesions[0].organ: has a control character, or white space at an end"},
		"within an identifier":   {`"10081007"`, "\"1008\u00a01007\"", "a.json:12: subject: has white space that is no simple space"},
		"within a study number":  {`"study": "FHIR-T"`, "\"study\": \"FHIR\u2003T\"", "a.json:3: study: has white space that is no simple space"},
		"within a lesion's name": {`"id": "T02"`, "\"id\": \"T\u00a02\"", "a.json:25: lesions[1].id: has white space that is no simple space"},
		"a line separator":       {`"Lung"`, "\"Left\u2028lung\"", "a.json:22: lesions[0].organ: has a control character, or white space at an end"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{c.want}, results(read(t, "a.json", strings.Replace(good, c.from, c.to, 1)))); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, space := range []string{"\u00a0", "\u2003", "\u0085", "\v", "\f", "\ufeff"} {
		got := results(read(t, "a.ndjson", oneLine("1")+"\n"+space+oneLine("2")))
		if len(got) != 2 || !strings.HasPrefix(got[1], "a.ndjson:2: is not valid JSON") {
			t.Errorf("%q before a record: %v", space, got)
		}
	}
}

func TestFilesOfOtherFormatsAreRefusedByName(t *testing.T) {
	for beginning, name := range map[string]string{
		"{\x00\"\x00": "text in UTF-16", "\x00{\x00\"": "text in UTF-16", "<Bundle": "XML or HTML", "%PDF-1.4": "a PDF",
		"\xd0\xcf\x11\xe0\xa1": "an old spreadsheet or text document",
		"\x1f\x8b\x08\x00":     "compressed with gzip", "PK\x03\x04": "a ZIP archive, or a spreadsheet in one", "BZh9": "compressed with bzip2",
		"\xfd7zXZ\x00": "compressed with xz", "\x28\xb5\x2f\xfd": "compressed with zstd", "\xff\xfe{\x00": "text in UTF-16", "\xfe\xff\x00{": "text in UTF-16",
	} {
		for _, file := range []string{"a.json", "a.ndjson", "a.json.gz"} {
			want := []string{file + ":1: the file is " + name + "; write it as JSON in UTF-8, not compressed"}
			if diff := cmp.Diff(want, results(read(t, file, beginning+"rest"))); diff != "" {
				t.Error(diff)
			}
		}
	}
}

func TestFormats(t *testing.T) {
	report, _ := resources(t, goodAssessment())
	a, b := oneLine("1"), oneLine("2")
	const given = ", and the format was given as "
	for _, c := range []struct {
		name   string
		format intake.Format
		text   string
		want   []string
	}{
		{"lines are recognised", "", "\n" + a + "\n\n" + b + "\n", []string{"-:2 1", "-:4 2"}},
		{"lines of which one is bad", "", a + "\n{\"id\":\n" + b, []string{"-:1 1", "-:2: id: is not valid JSON: it ends in the middle", "-:3 2"}},
		{"lines of which the first is cut off", "", a[:40] + "\n" + b, []string{"-:1: is not valid JSON: it ends in the middle", "-:2 2"}},
		{"lines of both forms", "", a + "\n" + report, []string{"-:1 1", "-:2 790"}},
		{"a record over many lines, and another", "", good + "\n" + b, []string{"-:29: something follows the end of the document; write one record a line, or put the records into an array"}},
		{"lines, as JSON", intake.JSON, a + "\n" + b, []string{"-:2: something follows the end of the document; write one record a line, or put the records into an array"}},
		{"a record as lines", intake.NDJSON, a, []string{"-:1 1"}},
		{"an array as lines", intake.NDJSON, "[" + a + "]", []string{"-:1: must be an object, not an array"}},
		{"a Bundle as JSON", intake.JSON, bundleOf(report), []string{"-:1: resourceType: this is a FHIR resource" + given + "json"}},
		{"a report as JSON", intake.JSON, report, []string{"-:1: resourceType: this is a FHIR resource" + given + "json"}},
		{"a report as FHIR", intake.FHIR, report, []string{"-:1 790"}},
		{"a record as FHIR", intake.FHIR, a, []string{"-:1: resourceType: is missing" + given + "fhir"}},
		{"reports as lines of FHIR", intake.FHIR, report + "\n" + strings.ReplaceAll(report, "790", "791"), []string{"-:1 790", "-:2 791"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			emit, records := collect()
			if err := intake.ReadFormat(t.Context(), strings.NewReader(c.text), "-", c.format, emit); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, results(*records)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestALongTextIsCutBetweenCharacters(t *testing.T) {
	for _, before := range []string{"", "a", "ab", "abc"} {
		long := before + strings.Repeat("日", 40)
		if got := intake.Printable(long); !strings.HasPrefix(long, strings.TrimSuffix(got, "…")) || !strings.HasSuffix(got, "日…") {
			t.Error(got)
		}
	}
}

func TestTheNameOfAFileIsQuotedWhereItDoesNotPrint(t *testing.T) {
	for name, want := range map[string]string{
		"a b.json": "a b.json:1", "é.json": "é.json:1", "a\x1b[31m.json": `"a\x1b[31m.json":1`, "a\n.json": `"a\n.json":1`, "a\u202e.json": `"a\u202e.json":1`,
	} {
		if got := (intake.Record{File: name, Line: 1}).Place(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
