package fhir

import (
	"strconv"
	"strings"
)

// Searchset is the Bundle that answers a search. The URLs of links and entries
// must be valid; EscapeQuery encodes the values in them.
type Searchset struct {
	Study   string // study id
	Total   int    // matches over all pages
	Links   []Link // in the order in which they are written
	Entries []Entry

	// Joined, if not empty, is the rest of the Bundle after `"entry":[`, with all entries;
	// see EntryParts. Append does not append it, so that it need not be copied.
	Joined []byte
}

// Link is one of self, first, last, previous and next.
type Link struct {
	Relation string
	URL      string
}

// Entry is one match, or a resource that a match refers to. Resource is JSON and is
// not checked.
type Entry struct {
	FullURL  string
	Resource []byte
	Mode     string // match or include, if the search asks for both; else empty
}

// Append appends the Bundle's JSON to dst. The resources are copied byte for
// byte; a Bundle without entries has no member entry.
func (s Searchset) Append(dst []byte) []byte {
	e := encoder{out: dst}
	e.bundle(s.Study, "searchset", s.Total, s.Links)
	if len(s.Joined) > 0 {
		e.raw(`,"entry":[`)
		return e.out
	}
	for i, entry := range s.Entries {
		e.next(i, `,"entry":[`)
		e.raw(`{"fullUrl":`)
		e.text(entry.FullURL)
		e.raw(`,"resource":`)
		e.out = append(e.out, entry.Resource...)
		if entry.Mode != "" {
			e.raw(`,"search":{"mode":"` + entry.Mode + `"}`)
		}
		e.raw(`}`)
	}
	e.close(len(s.Entries))
	e.raw(`}`)
	return e.out
}

// Size returns how many bytes Append adds at most if the texts need no escapes,
// so that dst can be allocated once.
func (s Searchset) Size() int {
	n := bundleSize(s.Study, s.Links)
	for _, e := range s.Entries {
		n += 64 + len(e.FullURL) + len(e.Resource)
	}
	return n
}

// EntryParts returns what joins matches to Searchset.Joined, for resources whose fullUrl is
// the prefix followed by the resource's id, which needs no escapes. Before stands before the
// id, between after it and before the resource, separator between two entries, and end after
// the last resource.
func EntryParts(prefix string) (before, between, separator, end string) {
	e := encoder{}
	e.raw(`{"fullUrl":`)
	e.text(prefix)
	return strings.TrimSuffix(string(e.out), `"`), `","resource":`, `},`, `}]}`
}

// bundle appends a Bundle up to its entries.
func (e *encoder) bundle(study, kind string, total int, links []Link) {
	e.raw(`{"resourceType":"Bundle","identifier":{"system":"` + root + extProtocol + `","value":`)
	e.text(study)
	e.raw(`},"type":"` + kind + `","total":`)
	e.out = strconv.AppendInt(e.out, int64(total), 10)
	for i, l := range links {
		e.next(i, `,"link":[`)
		e.raw(`{"relation":`)
		e.text(l.Relation)
		e.raw(`,"url":`)
		e.text(l.URL)
		e.raw(`}`)
	}
	e.close(len(links))
}

// bundleSize returns the most bytes that bundle appends if the texts need no escapes.
func bundleSize(study string, links []Link) int {
	n := 256 + len(study)
	for _, l := range links {
		n += 32 + len(l.Relation) + len(l.URL)
	}
	return n
}
