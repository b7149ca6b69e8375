package fhir

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// History is the Bundle that answers a FHIR history request. The URLs must be valid;
// EscapeQuery encodes the values in them.
type History struct {
	Study   string // study id
	Total   int    // entries on all pages
	Links   []Link // in the order in which they are written
	Entries []HistoryEntry
}

// HistoryEntry is one event.
type HistoryEntry struct {
	Event      events.Event // its Data is not needed
	DataDigest string       // SHA-256 of the event's body, in lower-case hex
	FullURL    string
	Method     string // PUT, POST or DELETE
	URL        string // relative to the base of the API
	Status     string
	Withdrawal []byte // the extensions of a withdrawal; see WithdrawalExtensions
	Resource   []byte // the event's body, only if it is available; not checked
}

// Append appends the Bundle's JSON to dst. The resources are copied byte for byte.
func (h History) Append(dst []byte) []byte {
	e := encoder{out: dst}
	e.bundle(h.Study, "history", h.Total, h.Links)
	for i, entry := range h.Entries {
		e.next(i, `,"entry":[`)
		e.historyEntry(entry)
	}
	e.close(len(h.Entries))
	e.raw(`}`)
	return e.out
}

// historyEntry appends one entry of the Bundle.
func (e *encoder) historyEntry(entry HistoryEntry) {
	e.raw(`{"extension":[`)
	e.event(entry.Event, entry.DataDigest)
	if len(entry.Withdrawal) > 0 {
		e.raw(`,`)
		e.out = append(e.out, entry.Withdrawal...)
	}
	e.raw(`],"fullUrl":`)
	e.text(entry.FullURL)
	if entry.Resource != nil {
		e.raw(`,"resource":`)
		e.out = append(e.out, entry.Resource...)
	}
	e.raw(`,"request":{"method":`)
	e.text(entry.Method)
	e.raw(`,"url":`)
	e.text(entry.URL)
	e.raw(`},"response":{"status":`)
	e.text(entry.Status)
	e.raw(`,"etag":"W/\"`)
	e.out = strconv.AppendUint(e.out, entry.Event.Number, 10)
	e.raw(`\"","lastModified":`)
	e.instant(entry.Event.Time)
	e.raw(`}}`)
}

// event appends the extension #Event. Nested in it is one extension for each attribute
// that the event's hash covers, in the order of events.Digest, with name and value as
// they are hashed. The last nested extension is the hash.
func (e *encoder) event(event events.Event, digest string) {
	e.raw(`{"url":"` + root + extEvent + `","extension":[`)
	for i, a := range event.Covered(digest) {
		if i > 0 {
			e.raw(`,`)
		}
		e.attribute(a.Name, a.Value)
	}
	e.raw(`,`)
	e.attribute("hash", event.Hash)
	e.raw(`]}`)
}

// attribute appends a nested extension, whose url is a plain name.
func (e *encoder) attribute(name, value string) {
	e.raw(`{"url":`)
	e.text(name)
	e.raw(`,"` + valueString + `":`)
	e.text(value)
	e.raw(`}`)
}

// Size returns how many bytes Append adds at most if the texts need no escapes.
func (h History) Size() int {
	n := bundleSize(h.Study, h.Links)
	for _, e := range h.Entries {
		n += 2048 + 2*len(e.Event.Subject) + len(e.FullURL) + len(e.URL) + len(e.Withdrawal) + len(e.Resource)
	}
	return n
}

// WithdrawalExtensions returns the extensions #Withdrawal and #WithdrawalReason of a
// report that Encode wrote, byte for byte, separated by a comma. A report whose
// withdrawal was not signed has only the reason. One that is not withdrawn has neither.
func WithdrawalExtensions(report []byte) ([]byte, error) {
	var found []string
	err := strictjson.Read(report, func(r *strictjson.Reader) error {
		_, err := r.Object(func(name []byte) error {
			if string(name) != "extension" {
				_, err := r.Value()
				return err
			}
			return reader{r}.array(func(int) error {
				value, err := r.Value()
				for _, name := range []string{extWithdrawal, extWithdrawalReason} {
					if strings.HasPrefix(string(value), `{"url":"`+root+name+`"`) {
						found = append(found, string(value))
					}
				}
				return err
			})
		})
		return err
	}, jsontext.AllowDuplicateNames(true))
	return []byte(strings.Join(found, ",")), err
}
