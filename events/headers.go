package events

// Header names of the CloudEvents NATS binding (1.0.3-wip, binary mode). They are
// in lower case on the wire: some clients compare them exactly.
const (
	headerSpecVersion  = "ce-specversion"
	headerID           = "ce-id"
	headerSource       = "ce-source"
	headerType         = "ce-type"
	headerSubject      = "ce-subject"
	headerTime         = "ce-time"
	headerContentType  = "ce-datacontenttype"
	headerStudy        = "ce-study"
	headerSequence     = "ce-sequence"
	headerPartitionKey = "ce-partitionkey"
	headerPreviousHash = "ce-previoushash"
	headerHash         = "ce-hash"
	headerTraceParent  = "ce-traceparent"
)

const specVersion = "1.0"

// Header returns the event's attributes as headers of a NATS message whose body is
// Data. The result can be converted to a nats.Header, and the caller may change it.
func (e Event) Header() map[string][]string {
	values := [...]string{
		specVersion, e.ID, e.Source, e.Type, e.Subject, FormatTime(e.Time), e.DataContentType, e.Study,
		FormatNumber(e.Number), e.PartitionKey, e.PreviousHash, e.Hash, e.TraceParent,
	}
	names := [...]string{
		headerSpecVersion, headerID, headerSource, headerType, headerSubject, headerTime, headerContentType, headerStudy,
		headerSequence, headerPartitionKey, headerPreviousHash, headerHash, headerTraceParent,
	}
	h := make(map[string][]string, len(names)+2) // space for the broker's own
	for i, name := range names {
		if values[i] != "" {
			h[name] = values[i : i+1 : i+1] // without capacity: an append cannot change the next value
		}
	}
	return h
}

// FromHeader returns the event of a NATS message with the headers h and the body
// data. It ignores headers that are no attributes of an Event. The error is Invalid if an
// attribute is missing, malformed or there twice. FromHeader does not check the hash. The
// event shares data with the caller.
func FromHeader(h map[string][]string, data []byte) (Event, error) {
	r := headerReader{h: h}
	if v := r.take(headerSpecVersion); r.err == nil && v != specVersion {
		return Event{}, Fieldf(headerSpecVersion, "%q is not %s", clip(v), specVersion)
	}
	e := Event{
		ID:              r.take(headerID),
		Source:          r.take(headerSource),
		Type:            r.take(headerType),
		Subject:         r.take(headerSubject),
		DataContentType: r.take(headerContentType),
		Study:           r.take(headerStudy),
		PartitionKey:    r.take(headerPartitionKey),
		PreviousHash:    r.take(headerPreviousHash),
		Hash:            r.take(headerHash),
		Data:            data,
	}
	if _, ok := h[headerTraceParent]; ok {
		e.TraceParent = r.take(headerTraceParent)
	}
	moment, sequence := r.take(headerTime), r.take(headerSequence)
	if r.err != nil {
		return Event{}, r.err
	}
	var err error
	if e.Time, err = ParseTime(moment); err != nil {
		return Event{}, &Error{Code: Invalid, Field: headerTime, Message: err.Error()}
	}
	if e.Number, err = ParseNumber(sequence); err != nil {
		return Event{}, &Error{Code: Invalid, Field: headerSequence, Message: err.Error()}
	}
	return e, e.Validate()
}

// headerReader reads headers that must be there once, and keeps the first error.
type headerReader struct {
	h   map[string][]string
	err error
}

// take returns the value of a header, or "" after an error.
func (r *headerReader) take(name string) string {
	values := r.h[name]
	if len(values) != 1 {
		if r.err == nil {
			r.err = Fieldf(name, "must be there once; it is there %d times", len(values))
		}
		return ""
	}
	return values[0]
}
