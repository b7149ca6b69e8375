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

// ParseIndex reads the index from the bytes of a report that Encode wrote and that a
// hash protects. It checks that they are JSON, and that the values of the index are
// there; it checks nothing else. The error is an Invalid events.Error that names
// the element.
//
// A read model calls it for every event, so it is faster than ParseReport: it searches
// the extensions without decoding each, and it does not look for names that occur
// twice.
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

// element reads an element of the report if the index needs it.
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

// meta reads a member of the element meta.
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

// extensions reads the array as Encode writes it: in each extension the url comes
// first, then one value, without white space. It splits the bytes of the array at the
// start of each extension. Text within a value cannot contain that separator, because
// the quotes in it have a backslash before them. To read token by token would make
// ParseIndex take half as long again.
func (x *Index) extensions(r reader) error {
	array, err := r.Value()
	if err != nil {
		return err
	}
	for extension := range bytes.SplitSeq(array, []byte(`{"url":"`+root)) { // such as #Name","valueString":"Baseline"},
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
		if x.Name != "" && x.Case > 0 && x.Study != "" { // the rest is not needed
			break
		}
	}
	return nil
}

// unquote decodes a JSON string that the end of an extension or of the array follows.
func unquote(quoted []byte) (string, error) {
	text, err := jsontext.AppendUnquote(make([]byte, 0, 64), bytes.TrimRight(quoted, "},]"))
	return string(text), err
}

// subject reads the reference to the subject. ParseIndex refuses one without an id.
func (x *Index) subject(r reader) error {
	reference, err := r.Text()
	x.Subject, _ = subjectOf(reference)
	return err
}

// indexedTime reads a time in the layout of Encode.
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
		// Value is a part of data behind the previous Observation. An earlier match would
		// have the same bytes, so either may be served.
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

// parseObservationIndex reads the index of one Observation, without Start and Length.
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
