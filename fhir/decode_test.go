package fhir

import (
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// DecodeReport returns the report that Encode wrote; to encode it again returns
// the same bytes. Of lesions it has only the ids. The error is an Invalid
// events.Error with the FHIR path as its Field.
//
// It is for tests: the program reads no signed report as a whole, only its
// index, with ParseIndex.
func DecodeReport(data []byte) (Report, error) {
	data, signature, err := cutWithdrawal(data)
	if err != nil {
		return Report{}, err
	}
	d, err := readReport(data, (*reportDocument).readSigned)
	if err != nil {
		return Report{}, err
	}
	if err := d.require("id", "meta", "code", "issued", "resultsInterpreter"); err != nil {
		return Report{}, err
	}
	if d.status != statusFinal && !d.withdrawn() {
		return Report{}, events.Fieldf("status", "%.100q must be %q or %q", d.status, statusFinal, statusWithdrawn)
	}
	r := d.signed
	if r.Assessment, err = d.assessment(); err != nil {
		return Report{}, err
	}
	if d.withdrawn() {
		r.Withdrawal = &Withdrawal{Signature: signature, Reason: d.withdrawal}
	}
	return r, nil
}

// withdrawalForm is the nested extension of a withdrawn report, as Encode writes it.
var withdrawalForm = regexp.MustCompile(`,\{"url":"` + regexp.QuoteMeta(root+extWithdrawal) + `","extension":(\[(?:\{"url":"(?:user|name|meaning|time)","value[A-Za-z]+":"(?:[^"\\]|\\.)*"\},?)*\])\}`)

// cutWithdrawal returns a report without the signature of its withdrawal, which
// no source sends, and that signature; the zero Signature where there is none.
func cutWithdrawal(data []byte) (rest []byte, s events.Signature, err error) {
	at := withdrawalForm.FindSubmatchIndex(data)
	if at == nil {
		return data, s, nil
	}
	var parts []struct {
		URL          string
		ValueString  string
		ValueInstant string
	}
	if err := json.Unmarshal(data[at[2]:at[3]], &parts); err != nil {
		return nil, s, err
	}
	for i, want := range []string{"user", "name", "meaning", "time"} {
		if len(parts) != 4 || parts[i].URL != want {
			return nil, s, events.Fieldf("extension", "the withdrawal needs user, name, meaning and time")
		}
	}
	s.User, s.Name, s.Meaning = parts[0].ValueString, parts[1].ValueString, parts[2].ValueString
	s.Time, err = events.ParseTime(parts[3].ValueInstant)
	return slices.Concat(data[:at[0]], data[at[1]:]), s, err
}

// readSigned reads the elements that sign-off adds.
func (d *reportDocument) readSigned(name []byte) error {
	switch string(name) {
	case "meta":
		return d.readMeta()
	case "code":
		return d.object(func(name []byte) error {
			if string(name) != "text" {
				return unsupported()
			}
			return d.constant(codeReport)
		})
	case "issued":
		return d.instant(&d.signed.Signature.Time)
	case "resultsInterpreter":
		return d.only(func() error { return d.readSignature(&d.signed.Signature) })
	default:
		return unsupported()
	}
}

func (d *reportDocument) readMeta() error {
	err := d.object(func(name []byte) error {
		switch string(name) {
		case "versionId":
			return d.version(&d.signed.Version)
		case "lastUpdated":
			return d.instant(&d.signed.LastUpdated)
		default:
			return unsupported()
		}
	})
	if err == nil && (d.signed.Version == 0 || d.signed.LastUpdated.IsZero()) {
		err = events.Errorf(events.Invalid, "needs versionId and lastUpdated")
	}
	return err
}

func (d *reportDocument) readSignature(s *events.Signature) error {
	var x extensions
	err := d.object(func(name []byte) error {
		switch string(name) {
		case "extension":
			return x.read(d.reader)
		case "identifier":
			return d.object(func(name []byte) error {
				if string(name) != "value" {
					return unsupported()
				}
				return d.text(&s.User)
			})
		case "display":
			return d.text(&s.Name)
		default:
			return unsupported()
		}
	})
	if err != nil {
		return err
	}
	s.Meaning = x.text("meaning", extMeaning)
	err = x.end()
	if err == nil && (s.User == "" || s.Name == "") {
		err = events.Errorf(events.Invalid, "needs identifier and display")
	}
	return err
}

// instant reads a time in the one form in which Encode writes it.
func (r reader) instant(target *time.Time) error {
	text, err := r.Text()
	if err != nil {
		return err
	}
	*target, err = events.ParseTime(text)
	return err
}
