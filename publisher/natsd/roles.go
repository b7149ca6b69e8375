package natsd

import "github.com/seed-e88a4ece/signoff/publisher/operator"

// Role is what a connection is for; it decides what the connection may do.
type Role = operator.Role

// The roles, which package operator describes.
const (
	Publisher = operator.Publisher
	Reader    = operator.Reader
	Operator  = operator.Operator
	Partners  = operator.Partners
	System    = operator.System
	Keeper    = operator.Keeper
	Callout   = operator.Callout
)
