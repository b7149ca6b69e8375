package doors

import "github.com/seed-e88a4ece/signoff/events/access"

// attemptOf is who tries to log in, from where. All clients that do not exist are
// one, so that names that are made up fill no table.
func attemptOf(client, host string, known bool) access.Attempt {
	if !known {
		client = ""
	}
	return access.Attempt{Client: client, Place: access.Place(host)}
}
