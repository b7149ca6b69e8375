package events_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestAnErrorIsItsCodeAndItsCause(t *testing.T) {
	err := fmt.Errorf("read report: %w", &events.Error{Code: events.NotFound, Field: "id", Message: "no such report", Err: sql.ErrNoRows})
	if !errors.Is(err, events.NotFound) || !errors.Is(err, sql.ErrNoRows) || errors.Is(err, events.Gone) {
		t.Errorf("%v is not what it was made of", err)
	}
	if want := "read report: id: no such report: sql: no rows in result set"; err.Error() != want {
		t.Errorf("it says %q, want %q", err, want)
	}
}

func TestCodesOfErrors(t *testing.T) {
	inner := events.Errorf(events.Gap, "event %d", 3)
	for name, c := range map[string]struct {
		err  error
		want events.Code
	}{
		"nothing":           {nil, ""},
		"no code":           {sql.ErrNoRows, events.Internal},
		"a bare code":       {fmt.Errorf("wrapped: %w", events.Throttled), events.Throttled},
		"the outermost one": {&events.Error{Code: events.Unavailable, Err: inner}, events.Unavailable},
		"wrapped":           {fmt.Errorf("apply: %w", inner), events.Gap},
		"a field":           {events.Fieldf("a", "b"), events.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			if got := events.CodeOf(c.err); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
