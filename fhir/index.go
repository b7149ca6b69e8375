package fhir

import (
	"bytes"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// Index is the values by which a search finds a report.
type Index struct {
	ID          string
	Status      string // final or entered-in-error
	Study       string // study id
	Subject     string // without Patient/
	Effective   string // FHIR dateTime as the source wrote it
	Issued      time.Time
	LastUpdated time.Time
	Name        string
	Conclusion  string
	Case        int32
	Version     uint64 // number of the event that carries the bytes
}

// ParseIndex reads the index from the bytes of a report that Encode wrote and
// that a hash protects. It checks that they are JSON, but of their content only
// what the index needs. The error is an Invalid events.Error that names what is
// missing.
//
// A read model calls it for every event, so it avoids work that ParseReport
// does: it searches the extensions without decoding each, and it accepts a name
// that is there twice.
func ParseIndex(data []byte) (Index, error) {
	var x Index
	err := strictjson.Read(data, func(r *strictjson.Reader) error {
		_, err := r.Object(func(name []byte) error { return x.element(reader{r}, name) })
		return err
	}, jsontext.AllowDuplicateNames(true))
	if err != nil {
		return Index{}, err
	}
	for _, m := range []struct {
		name  string
		there bool
	}{
		{"id", x.ID != ""}, {"meta", x.Version > 0 && !x.LastUpdated.IsZero()}, {"status", x.Status != ""},
		{"subject", x.Subject != ""}, {"effectiveDateTime", x.Effective != ""}, {"issued", !x.Issued.IsZero()},
		{"conclusion", x.Conclusion != ""}, {"extension", x.Study != "" && x.Name != "" && x.Case > 0},
	} {
		if !m.there {
			return Index{}, events.Fieldf(m.name, "is missing or incomplete")
		}
	}
	return x, nil
}

func (x *Index) element(r reader, name []byte) error {
	switch string(name) {
	case "resourceType":
		return r.constant(typeReport)
	case "id":
		return r.text(&x.ID)
	case "meta":
		return r.object(func(name []byte) error { return x.meta(r, name) })
	case "extension":
		return x.extensions(r)
	case "status":
		return r.text(&x.Status)
	case "subject":
		return r.object(func([]byte) error { return x.subject(r) })
	case "effectiveDateTime":
		return r.text(&x.Effective)
	case "issued":
		return indexedTime(r, &x.Issued)
	case "conclusion":
		return r.text(&x.Conclusion)
	default:
		_, err := r.Value()
		return err
	}
}

func (x *Index) meta(r reader, name []byte) error {
	switch string(name) {
	case "versionId":
		return r.version(&x.Version)
	case "lastUpdated":
		return indexedTime(r, &x.LastUpdated)
	default:
		_, err := r.Value()
		return err
	}
}

// extensions reads the array as Encode writes it: in each extension the url
// comes first, then one value, without white space. The decoder reads the array
// as a whole; a quote within a text then has a backslash before it, so each
// match of the separator is the start of an extension. Token by token the whole
// index would take half as long again.
func (x *Index) extensions(r reader) error {
	array, err := r.Value()
	if err != nil {
		return err
	}
	for extension := range bytes.SplitSeq(array, []byte(`{"url":"`+root)) { // #Name","valueString":"Baseline"},
		if text, ok := bytes.CutPrefix(extension, []byte(extProtocol+`","`+valueString+`":`)); ok {
			x.Study, err = unquote(text)
		} else if text, ok := bytes.CutPrefix(extension, []byte(extName+`","`+valueString+`":`)); ok {
			x.Name, err = unquote(text)
		} else if digits, ok := bytes.CutPrefix(extension, []byte(extCaseID+`","`+valueInteger+`":`)); ok {
			var n int64
			n, err = strconv.ParseInt(string(bytes.TrimRight(digits, "},]")), 10, 32)
			x.Case = int32(n)
		}
		if err != nil {
			return events.Errorf(events.Invalid, "an extension is not as this program writes it: %v", err)
		}
		if x.Name != "" && x.Case > 0 && x.Study != "" {
			break
		}
	}
	return nil
}

func unquote(quoted []byte) (string, error) {
	text, err := jsontext.AppendUnquote(make([]byte, 0, 64), bytes.TrimRight(quoted, "},]"))
	return string(text), err
}

func (x *Index) subject(r reader) error {
	reference, err := r.Text()
	x.Subject, _ = subjectOf(reference)
	return err
}

// indexedTime reads a time without comparing its text with that of Encode.
func indexedTime(r reader, target *time.Time) error {
	text, err := r.Bytes()
	if err == nil {
		*target, err = time.Parse(events.TimeLayout, string(text))
	}
	if err != nil {
		return events.Errorf(events.Invalid, "is not a time: %v", err)
	}
	return nil
}

// ObservationIndex is the values by which one Observation in a Bundle is found.
type ObservationIndex struct {
	ID          string
	Identifier  string // see LesionIdentifier
	Version     uint64 // number of the event that carries the Bundle
	LastUpdated time.Time
	Start       int // of its bytes in the Bundle
	Length      int
}

// ParseObservations reads the index of each Observation from the bytes of a Bundle
// that EncodeObservations wrote and that a hash protects, as ParseIndex does.
func ParseObservations(data []byte) ([]ObservationIndex, error) {
	var all []ObservationIndex
	end := 0
	resource := func(value []byte) error {
		x, err := parseObservationIndex(value)
		if err != nil {
			return err
		}
		// The first occurrence has the same bytes, wherever it is.
		x.Start, x.Length = end+bytes.Index(data[end:], value), len(value)
		end = x.Start + x.Length
		all = append(all, x)
		return nil
	}
	err := strictjson.Read(data, func(r *strictjson.Reader) error {
		_, err := r.Object(func(name []byte) error {
			if string(name) != "entry" {
				_, err := r.Value()
				return err
			}
			return reader{r}.array(func(int) error {
				return reader{r}.object(func([]byte) error {
					value, err := r.Value()
					if err != nil {
						return err
					}
					return resource(value)
				})
			})
		})
		return err
	}, jsontext.AllowDuplicateNames(true))
	if err == nil && len(all) == 0 {
		err = events.Fieldf("entry", "is missing")
	}
	return all, err
}

func parseObservationIndex(data []byte) (x ObservationIndex, err error) {
	var m Index // for its meta
	err = strictjson.Read(data, func(r *strictjson.Reader) error {
		_, err := r.Object(func(name []byte) error {
			switch string(name) {
			case "resourceType":
				return reader{r}.constant(typeObservation)
			case "id":
				return reader{r}.text(&x.ID)
			case "meta":
				return reader{r}.object(func(name []byte) error { return m.meta(reader{r}, name) })
			case "identifier":
				return reader{r}.only(func() error {
					return reader{r}.object(func(name []byte) error {
						if string(name) == "value" {
							return reader{r}.text(&x.Identifier)
						}
						_, err := r.Value()
						return err
					})
				})
			default:
				_, err := r.Value()
				return err
			}
		})
		return err
	}, jsontext.AllowDuplicateNames(true))
	x.Version, x.LastUpdated = m.Version, m.LastUpdated
	if err == nil && (x.Identifier == "" || x.ID != ObservationID(x.Identifier) || x.Version == 0 || x.LastUpdated.IsZero()) {
		err = events.Errorf(events.Invalid, "an Observation lacks its identifier or meta, or its id is not that of its identifier")
	}
	return x, err
}
