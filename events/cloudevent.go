package events

import (
	"github.com/cloudevents/sdk-go/v2/event"
)

// CloudEvent returns the event as a value of the CloudEvents Go SDK, which shares
// Data with e.
func (e Event) CloudEvent() (event.Event, error) {
	ce := event.New(event.CloudEventsVersionV1)
	ce.SetID(e.ID)
	ce.SetSource(e.Source)
	ce.SetType(e.Type)
	ce.SetSubject(e.Subject)
	ce.SetTime(e.Time)
	ce.SetDataContentType(e.DataContentType)
	ce.SetExtension("study", e.Study)
	ce.SetExtension("sequence", FormatNumber(e.Number))
	ce.SetExtension("partitionkey", e.PartitionKey)
	ce.SetExtension("previoushash", e.PreviousHash)
	ce.SetExtension("hash", e.Hash)
	if e.TraceParent != "" {
		ce.SetExtension("traceparent", e.TraceParent)
	}
	ce.DataEncoded = e.Data
	if err := ce.Validate(); err != nil {
		return event.Event{}, &Error{Code: Invalid, Message: "the CloudEvents SDK refuses the event", Err: err}
	}
	return ce, nil
}

// FromCloudEvent returns the event that a value of the CloudEvents Go SDK carries.
// It reads it as FromHeader does.
func FromCloudEvent(ce event.Event) (Event, error) {
	if err := ce.Validate(); err != nil {
		return Event{}, &Error{Code: Invalid, Message: "the CloudEvents SDK refuses the event", Err: err}
	}
	h := map[string][]string{
		headerSpecVersion: {ce.SpecVersion()},
		headerID:          {ce.ID()},
		headerSource:      {ce.Source()},
		headerType:        {ce.Type()},
		headerSubject:     {ce.Subject()},
		headerTime:        {FormatTime(ce.Time())}, // the SDK keeps the time, not its text
		headerContentType: {ce.DataContentType()},
	}
	for name, value := range ce.Extensions() {
		text, ok := value.(string)
		if !ok {
			return Event{}, Fieldf("ce-"+name, "is not a string")
		}
		h["ce-"+name] = []string{text}
	}
	return FromHeader(h, ce.Data())
}
