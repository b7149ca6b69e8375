package callout

import "github.com/seed-e88a4ece/signoff/events/access"

// attemptOf returns the attempt of a client to log in from a host. All clients that
// do not exist are one, so that made-up names fill no table.
func attemptOf(client, host string, known bool) access.Attempt {
	if !known {
		client = ""
	}
	return access.Attempt{Client: client, Place: access.Place(host)}
}
