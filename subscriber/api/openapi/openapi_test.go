package openapi_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/subscriber/api/openapi"
)

var update = flag.Bool("update", false, "write docs.html")

func load(t *testing.T, data []byte) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDescriptionNamesTheAddressesOfTheInstallation(t *testing.T) {
	a := openapi.Addresses{PublicURL: "https://gw.example/x", Base: "https://gw.example/x/base", Token: "https://gw.example/x/token"}
	doc := load(t, openapi.YAML(a))
	if got := doc.Servers[0].URL; got != a.Base {
		t.Errorf("server %s", got)
	}
	if got := doc.Components.SecuritySchemes["accessToken"].Value.Flows.ClientCredentials.TokenURL; got != a.Token {
		t.Errorf("token endpoint %s", got)
	}
	for path, item := range doc.Paths.Map() {
		for _, s := range item.Servers {
			if s.URL != a.PublicURL {
				t.Errorf("%s: server %s", path, s.URL)
			}
		}
	}
	for _, text := range [][]byte{openapi.YAML(a), openapi.Page(a)} {
		if bytes.Contains(text, []byte("127.0.0.1")) || !bytes.Contains(text, []byte(a.Base)) {
			t.Errorf("other addresses in %.200s", text)
		}
	}
}

// The page loads nothing and runs nothing. Its only link is right on the paths docs and docs/.
func TestThePageIsSelfContained(t *testing.T) {
	page := string(openapi.Page(openapi.Addresses{PublicURL: "https://gw.example", Base: "https://gw.example/base", Token: "https://gw.example/token"}))
	if m := regexp.MustCompile(`(?i)<(script|link|img|iframe|object|embed|base|form)|\ssrc=|url\(|@import|\son\w+=`).FindString(page); m != "" {
		t.Errorf("the page has %q", m)
	}
	for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if m[1] != "https://gw.example/base/openapi.yaml" && !strings.HasPrefix(m[1], "#") {
			t.Errorf("the page links to %s", m[1])
		}
	}
}

func TestThePageIsMadeFromTheDescription(t *testing.T) {
	description, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("docs.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	doc := load(t, description)
	var page bytes.Buffer
	if err := template.Must(template.New("").Funcs(template.FuncMap{"prose": prose}).Parse(string(text))).Execute(&page, pageOf(doc)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("docs.html", page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("docs.html")
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(page.String(), string(got)); diff != "" {
		t.Errorf("run this test with -update (-description +page):\n%s", diff)
	}
}

// prose returns the paragraphs of a description, with code between backquotes.
func prose(text string) template.HTML {
	var out strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		out.WriteString("<p>")
		for i, part := range strings.Split(strings.ReplaceAll(paragraph, "\n", " "), "`") {
			part = template.HTMLEscapeString(part)
			if i%2 == 1 {
				part = "<code>" + part + "</code>"
			}
			out.WriteString(part)
		}
		out.WriteString("</p>")
	}
	return template.HTML(out.String())
}

// page is the data of docs.tmpl.
type page struct {
	Info   *openapi3.Info
	Base   string
	Groups []group
}

type group struct {
	Name, Description string
	Operations        []operation
}

type operation struct {
	ID, Summary, Description, Method, URL string
	Open                                  bool
	Parameters                            []*openapi3.Parameter
	FormType, Form                        string
	Answers                               []answer
	Examples                              []example
}

type answer struct {
	Status, Description string
	Types               []string
}

type example struct{ Status, Title, Request, Body string }

func pageOf(doc *openapi3.T) page {
	p := page{Info: doc.Info, Base: doc.Servers[0].URL}
	for _, tag := range doc.Tags {
		g := group{Name: tag.Name, Description: tag.Description}
		for _, path := range doc.Paths.InMatchingOrder() {
			item := doc.Paths.Find(path)
			for method, o := range item.Operations() {
				if o.Tags[0] == tag.Name {
					g.Operations = append(g.Operations, operationOf(doc, item, path, method, o))
				}
			}
		}
		slices.SortFunc(g.Operations, func(a, b operation) int {
			return cmp.Or(strings.Compare(a.URL, b.URL), strings.Compare(a.Method, b.Method))
		})
		p.Groups = append(p.Groups, g)
	}
	return p
}

func operationOf(doc *openapi3.T, item *openapi3.PathItem, path, method string, o *openapi3.Operation) operation {
	servers := doc.Servers
	if len(item.Servers) > 0 {
		servers = item.Servers
	}
	out := operation{
		ID: o.OperationID, Summary: o.Summary, Description: o.Description, Method: method, URL: servers[0].URL + path,
		Open: o.Security != nil && len(*o.Security) == 0,
	}
	for _, p := range o.Parameters {
		out.Parameters = append(out.Parameters, p.Value)
	}
	if o.RequestBody != nil {
		for mediaType, m := range o.RequestBody.Value.Content {
			out.FormType, out.Form = mediaType, formOf(m.Schema.Value.Example)
		}
	}
	for _, status := range slices.Sorted(maps.Keys(o.Responses.Map())) {
		response := o.Responses.Value(status).Value
		out.Answers = append(out.Answers, answer{status, *response.Description, slices.Sorted(maps.Keys(response.Content))})
		for _, mediaType := range slices.Sorted(maps.Keys(response.Content)) {
			for _, name := range slices.Sorted(maps.Keys(response.Content[mediaType].Examples)) {
				out.Examples = append(out.Examples, exampleOf(out, status, response.Content[mediaType].Examples[name].Value))
			}
		}
	}
	return out
}

func formOf(example any) string {
	values := url.Values{}
	fields, _ := example.(map[string]any)
	for name, value := range fields {
		values.Set(name, fmt.Sprint(value))
	}
	return strings.ReplaceAll(values.Encode(), url.QueryEscape("…"), "…")
}

func exampleOf(o operation, status string, e *openapi3.Example) example {
	path, _ := e.Extensions["x-request"].(string)
	form, _ := e.Extensions["x-form"].(string)
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(e.Value); err != nil {
		panic(err) // it was read from YAML
	}
	target, _, _ := strings.Cut(o.URL, "/{")
	request := o.Method + " " + target + path
	if form != "" {
		request += "\n\n" + form
	}
	title := e.Summary
	if title == "" {
		title = "example"
	}
	return example{Status: status, Title: title, Request: request, Body: body.String()}
}
