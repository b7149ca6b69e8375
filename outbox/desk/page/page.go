// Package page lays out the pages of the desk: the frame that all have in common, the style,
// the script, the headers, and the functions by which templates print times, numbers and
// texts from outside.
//
// Pages work without script. A page is written only when its template was executed to the
// end, so that nobody sees half of one.
package page

import (
	"bytes"
	_ "embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// Frame is what every page has.
type Frame struct {
	Title   string // of the page, without the name of the desk
	Section string // that the navigation marks: waiting, signed, studies, history, or none
	Name    string // of the PI who is signed in, as printed; empty for nobody
	Waiting int    // how many cases wait for the PI; -1 if it is not known
	Now     time.Time

	// IdleAfter is after how long without activity the session ends, and Until when it
	// ends unless something is done.
	IdleAfter time.Duration
	Until     time.Time

	// Live is the path of the stream of events that the script follows, or empty.
	Live string

	// Problem is shown above everything else. It makes the title begin with "Error:".
	Problem *Problem

	Data any // of the page itself
}

// Left returns in how many seconds the session ends, rounded up, so that a browser that
// counts them finds it ended.
func (f Frame) Left() int { return int(f.Until.Sub(f.Now)/time.Second) + 1 }

// Problem is what a form, or a request, was refused for.
type Problem struct {
	Title string // "There is a problem" if empty
	Items []ProblemItem
}

// ProblemItem is one reason of a refusal.
type ProblemItem struct {
	Field string // id of the form's field, or empty
	Text  string
}

// At returns the text of the item about a field, or "".
func (p *Problem) At(field string) string {
	if p != nil {
		for _, i := range p.Items {
			if i.Field == field {
				return i.Text
			}
		}
	}
	return ""
}

//go:embed layout.tmpl
var layout string

// Set has the templates of the pages by name.
type Set map[string]*template.Template

// Parse reads the templates *.tmpl in dir. Each is a page and defines "main", what stands in
// the frame; files that begin with "_" are not pages and are there for all of them. It panics
// if one is malformed, because they are part of the program.
func Parse(dir fs.FS) Set {
	base := template.Must(template.New("layout").Option("missingkey=error").Funcs(functions).Parse(layout))
	names, err := fs.Glob(dir, "*.tmpl")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "_") {
			template.Must(base.ParseFS(dir, name))
		}
	}
	set := make(Set)
	for _, name := range names {
		if !strings.HasPrefix(name, "_") {
			set[strings.TrimSuffix(path.Base(name), ".tmpl")] = template.Must(template.Must(base.Clone()).ParseFS(dir, name))
		}
	}
	return set
}

// Write answers with the page of this name. After an error nothing was written.
func (s Set) Write(w http.ResponseWriter, status int, name string, f Frame) error {
	var body bytes.Buffer
	if err := s[name].ExecuteTemplate(&body, "layout", f); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // fails only if the browser has gone
	return nil
}
