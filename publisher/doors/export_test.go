package doors

import "github.com/nats-io/jwt/v2"

// GrantsOf is for tests of what a connection's name says.
var GrantsOf = grantsOf

func connectOptions(token, user, password string) jwt.ConnectOptions {
	return jwt.ConnectOptions{Token: token, Username: user, Password: password}
}
