package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/api"
)

func TestASourceDelivers(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{})
	a := visit(study, 1, "1", 0, "50.0", "--", "0.0 mm", "--", "No")
	first := in.want(in.put("edc", a), 201, `"outcome":"taken"`)
	if first.Header.Get("Location") != "/desk/v1/assessments/1" {
		t.Errorf("Location %s", first.Header.Get("Location"))
	}
	again := in.want(in.put("edc", a), 200, `"outcome":"unchanged"`)
	read := in.read("edc", "1")
	if tags := []string{first.Header.Get("ETag"), again.Header.Get("ETag")}; tags[0] != read.etag || tags[1] != read.etag {
		t.Errorf("the tags are %v, read was %s", tags, read.etag)
	}
	a.Revision = 2
	in.want(in.put("edc", a, "If-Match", `"`+zeros+`"`), 412)
	second := in.want(in.put("edc", a, "If-Match", read.etag), 200, `"outcome":"taken"`)
	if second.Header.Get("ETag") == read.etag {
		t.Error("a new revision has the same tag")
	}
	in.want(in.put("edc", a, "If-Match", "*"), 400, "If-Match")
	in.want(in.put("edc", a, "If-Match", `"a", "b"`), 400, "If-Match")
	in.want(in.put("edc", a, "If-None-Match", "*"), 400, "If-None-Match")

	other := in.put("edc", a)
	other.target = "/assessments/2"
	in.want(other, 400, "id: ")
	body := text(t, a)
	for name, c := range map[string]struct{ body, want string }{
		"a value": {strings.Replace(body, `"Baseline"`, `"First"`, 1), "name: "},
		"a name":  {strings.Replace(body, `"name"`, `"nam"`, 1), "nam: "},
		"JSON":    {body[:len(body)-1], "JSON"},
		"two":     {"[" + body + "," + strings.Replace(body, `"id":"1"`, `"id":"2"`, 1) + "]", "more than one"},
		"nothing": {" ", "the body is empty"},
		"another": {body + body, "send each assessment by itself"},
		"text":    {"\xff\xfe{", "the body is text in UTF-16"},
	} {
		q := in.put("edc", a)
		q.body = c.body
		if in.want(q, 400, c.want); t.Failed() {
			t.Log(name)
		}
	}
}

// The contract's own report is taken as it is.
func TestASourceDeliversFHIR(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{})
	ok(t, in.outbox.Accounts().GrantSource(t.Context(), "ops", "edc", "FHIR-T"))
	content, err := os.ReadFile("../../intake/testdata/seed-bundle.json")
	ok(t, err)
	var bundle struct {
		Entry []struct{ Resource json.RawMessage }
	}
	ok(t, json.Unmarshal(content, &bundle))
	q := call{
		as: "edc", method: "PUT", path: "/assessments/{id}", target: "/assessments/790", body: string(bundle.Entry[0].Resource),
		header: []string{"Content-Type", "application/fhir+json; charset=utf-8"},
	}
	in.want(q, 201, `"id":"790"`)
	whole := q
	whole.body = string(content)
	in.want(whole, 400, "more than one")
	q.header = nil
	in.want(q, 400, "resourceType")
}

// FuzzPut: no body and no id make the API panic or answer with an internal error, and an
// answer of success is about the id of the path.
func FuzzPut(f *testing.F) {
	o, err := outbox.Open(f.Context(), filepath.Join(f.TempDir(), "outbox.db"), outbox.Config{Log: slog.New(slog.DiscardHandler)})
	ok(f, err)
	f.Cleanup(func() { _ = o.Close() })
	secret, err := o.Accounts().AddSource(f.Context(), "ops", "edc", []string{study})
	ok(f, err)
	h := rest.Wrap(api.New(o, api.Config{}), slog.New(slog.DiscardHandler))
	good := text(f, visit(study, 1, "1", 0, "50.0", "--", "0.0 mm", "--", "No"))
	for _, body := range []string{good, "", "{}", "[" + good + "]", good[1:], strings.Replace(good, "50.0", "1e400", -1), `{"resourceType":"Bundle"}`} {
		f.Add("1", []byte(body), false, "")
		f.Add("1", []byte(body), true, `"a"`)
	}
	f.Fuzz(func(t *testing.T, id string, body []byte, asFHIR bool, tag string) {
		r := httptest.NewRequest(http.MethodPut, "/", bytes.NewReader(body))
		r.URL.Path = "/desk/v1/assessments/" + id
		r.Header.Set("Authorization", "Bearer edc."+secret)
		r.Header.Set("Content-Type", map[bool]string{true: "application/fhir+json", false: "application/json"}[asFHIR])
		if tag != "" {
			r.Header.Set("If-Match", tag)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch {
		case w.Code >= 500:
			t.Errorf("status %d: %s", w.Code, w.Body)
		case w.Code < 300 && !strings.Contains(w.Body.String(), fmt.Sprintf(`"id":%q`, strings.TrimSuffix(id, "/"))):
			t.Errorf("id %q was answered %s", id, w.Body)
		}
	})
}
