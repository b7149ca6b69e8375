package subscriber

import (
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// ErrMoved is returned by a Follower whose stored Bookmark is not the one before
// the event. ErrClosed is returned after Close.
var (
	ErrMoved  = errors.New("the stored bookmark is not the one before this event")
	ErrClosed = errors.New("the connection to the publisher was closed")
)

// ErrAccessEnded means that the publisher does not let the partner have what it
// asks for. The code is events.Unauthenticated when the token endpoint refuses the
// credentials, because the partner was removed or its secret rotated. It is
// events.Forbidden when a study is not, or no longer, granted: new logins have lacked
// it for two seconds. An outage is waited for instead.
var ErrAccessEnded = errors.New("access has ended")

// accessEnded returns an ErrAccessEnded.
func accessEnded(code events.Code, cause error, format string, args ...any) error {
	e := events.Errorf(code, format, args...)
	e.Err = cause
	return fmt.Errorf("%w: %w", ErrAccessEnded, e)
}

// outage is an error of reaching the publisher. Calls wait and try again.
type outage struct{ error }

func (o outage) Unwrap() error { return o.error }

// refusal means that the server does not permit the partner to use a consumer, or
// that there is no such consumer. Before access counts as ended, confirm asks
// again with a new login.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// badCredentials means that the token endpoint does not accept the credentials.
type badCredentials struct{ error }

func (b badCredentials) Unwrap() error { return b.error }

// isBadCredentials reports whether the credentials were refused.
func isBadCredentials(err error) bool {
	var bad badCredentials
	return errors.As(err, &bad)
}
