package subscriber

import (
	"context"
	"errors"

	"github.com/seed-e88a4ece/signoff/events"
)

// Tail is how many events of a study are outstanding for the partner. The broker
// counts an event a moment after it has stored it.
type Tail struct {
	Undelivered    uint64 // events that were not yet sent
	Unacknowledged int    // events that were sent and are not yet acknowledged
}

// Quiet reports whether every event of the study has been acknowledged.
func (t Tail) Quiet() bool { return t.Undelivered == 0 && t.Unacknowledged == 0 }

// Tail returns how many events of a study are outstanding. The error's code is
// events.Forbidden if the study is not granted, events.Unavailable if the
// broker cannot be reached.
func (p *Partner) Tail(ctx context.Context, study string) (Tail, error) {
	if err := events.ValidStudy(study); err != nil {
		return Tail{}, err
	}
	t := p.topic(study)
	refusals, stop := p.watch(t.durable)
	defer stop()
	from, err := consumer{p: p, js: p.js, name: t.durable, refusals: refusals}.open(ctx)
	switch {
	case p.life.Err() != nil:
		return Tail{}, context.Cause(p.life)
	case errors.As(err, new(refusal)):
		return Tail{}, &events.Error{Code: events.Forbidden, Message: notGranted(study, p.id), Err: err}
	case err != nil:
		return Tail{}, &events.Error{Code: events.Unavailable, Message: "the broker cannot be asked what is outstanding in study " + study + "; try again later", Err: err}
	}
	info := from.CachedInfo()
	return Tail{Undelivered: info.NumPending, Unacknowledged: info.NumAckPending}, nil
}
