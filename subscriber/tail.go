package subscriber

import (
	"context"
	"errors"

	"github.com/seed-e88a4ece/signoff/events"
)

// Tail is what the broker has for a partner that has not been acknowledged. It
// counts what it has just stored a moment later.
type Tail struct {
	Undelivered    uint64 // events of the study that were not yet sent
	Unacknowledged int    // events that were sent and have not come back as handled
}

// Quiet reports whether every event of the study has been acknowledged. Only
// then does silence mean that nothing has happened.
func (t Tail) Quiet() bool { return t.Undelivered == 0 && t.Unacknowledged == 0 }

// Tail asks the broker what is outstanding in a study. The error's code is
// events.Forbidden if the study is not granted, events.Unavailable if the
// broker cannot be asked.
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
		return Tail{}, &events.Error{Code: events.Unavailable, Message: "what is outstanding in study " + study + " is not known", Err: err}
	}
	info := from.CachedInfo()
	return Tail{Undelivered: info.NumPending, Unacknowledged: info.NumAckPending}, nil
}
