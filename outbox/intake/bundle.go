package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// isBundle reports whether a record is a FHIR Bundle. It may be given only the
// beginning of the record. Then the resourceType must come before the entries, as it
// does in what FHIR servers write.
func isBundle(beginning []byte) bool {
	if !bytes.Contains(beginning, []byte(`"Bundle"`)) {
		return false
	}
	found := errors.New("found") // stops the reading of members
	s := newSplitter(bytes.NewReader(beginning), 1)
	err := s.members(func(name string, _ int) error {
		p, err := s.value(nil)
		if err == nil && name == "resourceType" && string(p.raw) == `"Bundle"` {
			return found
		}
		return err
	})
	return errors.Is(err, found)
}

// bundle is a FHIR Bundle while it is read. Nothing of it is emitted before its
// end, because the Observations of a report's lesions may stand anywhere in it.
type bundle struct {
	reports      []entry[events.Assessment]
	observations []entry[fhir.ObservationInput]
	refusals     []*Refusal
	incomplete   bool             // whether an Observation was refused before its lesion was known
	byLesion     map[string][]int // indexes in reports, by lesion identifier
}

// entry is the resource of one entry, and where it stands.
type entry[T any] struct {
	content T
	path    string
	line    int // 0 after the entry was refused
}

// bundle reads a Bundle. It emits first the refusals in it, then its reports.
func (d *document) bundle(p piece) error {
	if p.tooLong {
		return d.refuse(Refusef(p.line, events.TooLarge, "", "the Bundle has more than 64 MiB, or 1 MiB where it is not the whole file"))
	}
	var b bundle
	if err := b.read(p); err != nil {
		return d.refused(err)
	}
	b.fill()
	for _, r := range b.refusals {
		if err := d.refuse(r); err != nil {
			return err
		}
	}
	for _, r := range b.reports {
		if err := d.acceptReport(&b, r); err != nil {
			return err
		}
	}
	return nil
}

// acceptReport emits a report, unless it was refused. A lesion need not have an
// Observation. But if b.incomplete, a refused Observation may be that of the lesion,
// and the report is refused.
func (d *document) acceptReport(b *bundle, r entry[events.Assessment]) error {
	if r.line == 0 {
		return nil
	}
	withoutContent := slices.IndexFunc(r.content.Lesions, func(l events.Lesion) bool { return l == events.Lesion{ID: l.ID} })
	if b.incomplete && withoutContent >= 0 {
		field := fmt.Sprintf("%s.result[%d]", r.path, withoutContent)
		return d.refuse(Refusef(r.line, events.Invalid, field, "lesion %s has no Observation, but may be the lesion of one that was refused", r.content.Lesions[withoutContent].ID))
	}
	return d.accept(r.content, r.line, r.path+".identifier[0].value")
}

// read reads all members of the Bundle.
func (b *bundle) read(p piece) error {
	s := newSplitter(bytes.NewReader(p.raw), p.line)
	lines := map[string]int{}
	return s.members(func(name string, line int) error {
		if first, twice := lines[name]; twice {
			return Refusef(line, events.Invalid, Printable(name), "is there twice, first in line %d", first)
		}
		lines[name] = line
		if name == "entry" {
			return b.entries(s)
		}
		return b.envelope(s, name)
	})
}

// entries reads the entries of the Bundle.
func (b *bundle) entries(s *splitter) error {
	i := -1
	err := s.elements(func(p piece) error {
		i++
		b.entry(p, fmt.Sprintf("entry[%d]", i))
		return nil
	})
	return strictjson.Within("entry", err)
}

// envelope checks a member of the Bundle other than its entries.
func (b *bundle) envelope(s *splitter, name string) error {
	p, err := s.value(nil)
	if err != nil {
		return err
	}
	if p.tooLong {
		return strictjson.Within(Printable(name), tooLarge(p.line))
	}
	if err := strictjson.Check(p.raw); err != nil {
		return strictjson.Within(Printable(name), p.refusal(err))
	}
	if err := strictjson.Within(name, checkWholePage(name, p)); err != nil {
		return err
	}
	if name == "type" && string(p.raw) != `"searchset"` && string(p.raw) != `"collection"` {
		return Refusef(p.line, events.Unsupported, name, "a Bundle of type %s cannot be imported; searchset and collection can", Printable(string(bytes.Trim(p.raw, `"`))))
	}
	return nil
}

// entry reads one entry of the Bundle, and adds its report, Observation or refusal.
func (b *bundle) entry(p piece, path string) {
	err := error(tooLarge(p.line))
	if !p.tooLong {
		if err = strictjson.Check(p.raw); err != nil {
			err = p.refusal(err)
		}
	}
	if err != nil {
		// The entry cannot be parsed, so the text must do to tell an Observation.
		b.incomplete = b.incomplete || bytes.Contains(p.raw, []byte(`"Observation"`))
		b.refuse(err, path)
		return
	}
	if bytes.Contains(p.raw, []byte(`"outcome"`)) && string(p.at("search.mode").raw) == `"outcome"` {
		return // an outcome of the search itself, such as a warning
	}
	path += ".resource"
	resource := p.at("resource")
	if resource.raw == nil {
		err = Refusef(p.line, events.Required, "", "is missing")
	} else {
		err = b.resource(resource, path)
	}
	b.refuse(err, path)
}

// refuse adds the refusal in err, if there is one, with path before its field.
func (b *bundle) refuse(err error, path string) {
	var r *Refusal
	if errors.As(strictjson.Within(path, err), &r) {
		b.refusals = append(b.refusals, r)
	}
}

// resource reads the resource of an entry: an Observation or a report. The error is a
// *Refusal.
func (b *bundle) resource(p piece, path string) error {
	if string(p.at("resourceType").raw) == `"Observation"` {
		if err := checkWhole(p); err != nil {
			b.incomplete = true
			return err
		}
		o, err := fhir.ParseObservation(p.raw)
		if err != nil {
			b.incomplete = true
			return p.refusal(err)
		}
		b.observations = append(b.observations, entry[fhir.ObservationInput]{content: o, path: path, line: p.line})
		return nil
	}
	a, err := readReport(p)
	if err != nil {
		return err
	}
	b.addReport(entry[events.Assessment]{content: a, path: path, line: p.line})
	return nil
}

// addReport adds a report and indexes it by its lesions.
func (b *bundle) addReport(r entry[events.Assessment]) {
	if b.byLesion == nil {
		b.byLesion = map[string][]int{}
	}
	for _, l := range r.content.Lesions {
		id := fhir.LesionIdentifier(r.content, l.ID)
		b.byLesion[id] = append(b.byLesion[id], len(b.reports))
	}
	b.reports = append(b.reports, r)
}

// fill copies the lesions of the Observations into the reports. It refuses a second
// Observation of a lesion, and one of a lesion that no report has.
func (b *bundle) fill() {
	lines := map[string]int{}
	for _, o := range b.observations {
		id := o.content.Identifier
		first, twice := lines[id]
		lines[id] = o.line
		switch {
		case twice:
			b.dropReports(id)
			b.refuse(Refusef(o.line, events.Conflict, "identifier[0].value", "%s is in this Bundle twice, first in line %d", id, first), o.path)
		case len(b.byLesion[id]) == 0:
			b.refuse(Refusef(o.line, events.Invalid, "identifier[0].value", "no report in this Bundle has the lesion %s", id), o.path)
		default:
			b.fillFrom(o)
		}
	}
}

// fillFrom copies the lesion of an Observation into each report that has the lesion.
// If it contradicts one of them, it is refused with all these reports.
func (b *bundle) fillFrom(o entry[fhir.ObservationInput]) {
	for _, i := range b.byLesion[o.content.Identifier] {
		if _, err := o.content.Fill(&b.reports[i].content); err != nil {
			b.refuse(&Refusal{Line: o.line, Err: AsError(err, "")}, o.path)
			b.dropReports(o.content.Identifier)
			return
		}
	}
}

// dropReports refuses the reports of a lesion because its Observation was
// refused.
func (b *bundle) dropReports(lesionIdentifier string) {
	for _, i := range b.byLesion[lesionIdentifier] {
		r := &b.reports[i]
		if r.line != 0 {
			b.refuse(Refusef(r.line, events.Conflict, "", "an Observation of its lesion %s was refused", lesionIdentifier), r.path)
		}
		r.line = 0
	}
}

// subsetted is the FHIR tag of a resource from which the server has left out elements,
// because the query had _elements or _summary.
const subsetted = "SUBSETTED"

// checkWhole refuses a resource from which the server has left out elements.
func checkWhole(p piece) error {
	if !bytes.Contains(p.raw, []byte(subsetted)) {
		return nil
	}
	meta := p.at("meta")
	return strictjson.Within("meta", checkWholeMeta(meta))
}

// checkWholeMeta refuses the meta of a resource if it has the tag SUBSETTED.
func checkWholeMeta(meta piece) error {
	var content any
	if meta.raw == nil || json.Unmarshal(meta.raw, &content) != nil || !hasText(content, subsetted) {
		return nil
	}
	return Refusef(meta.line, events.Unsupported, "", "the resource is tagged %s: it is not whole; fetch it without _elements and _summary", subsetted)
}

// hasText reports whether a text stands anywhere in a JSON value.
func hasText(value any, text string) bool {
	switch v := value.(type) {
	case string:
		return v == text
	case []any:
		return slices.ContainsFunc(v, func(element any) bool { return hasText(element, text) })
	case map[string]any:
		for _, member := range v {
			if hasText(member, text) {
				return true
			}
		}
	}
	return false
}

// checkWholePage refuses a member of a Bundle that shows that elements were left out:
// its meta with the tag SUBSETTED, or its self link with _elements or _summary.
func checkWholePage(name string, p piece) error {
	switch name {
	case "meta":
		return checkWholeMeta(p)
	case "link":
		var links []struct{ Relation, URL string }
		if json.Unmarshal(p.raw, &links) != nil {
			return nil // no list of links
		}
		for _, l := range links {
			address, err := url.Parse(l.URL)
			if err != nil || l.Relation != "self" {
				continue
			}
			query := address.Query()
			if summary := query.Get("_summary"); query.Get("_elements") != "" || summary != "" && summary != "false" {
				return Refusef(p.line, events.Unsupported, "", "the Bundle was fetched with _elements or _summary: it is not whole; fetch it without them")
			}
		}
	}
	return nil
}
