package tenancy

// Connection is a partner's connection to a server.
type Connection struct {
	Server string // the server's id
	ID     uint64 // unique on that server
	User   string // the name that the answer to its login gave it
}

// Backlog is what a server has sent to a connection that does not read it.
type Backlog struct {
	Connection
	Account string
	Pending uint64 // bytes
}

// Traffic is what went between a server and its clients since it started.
type Traffic struct {
	Server   string // the server's id, another one after each start
	Accounts map[string]Messages
	Bytes    uint64 // of all messages that it sent
}

// Messages are the numbers of those that a server received from the clients of an
// account, and of those that it sent to them.
type Messages struct{ Received, Sent uint64 }

// Since counts the messages since an earlier count, in the direction in which
// there were more: a request and its answer are one.
func (m Messages) Since(before Messages) uint64 {
	return max(m.Received-min(before.Received, m.Received), m.Sent-min(before.Sent, m.Sent))
}
