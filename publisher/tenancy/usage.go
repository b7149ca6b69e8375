package tenancy

// Connection is a partner's connection to a server.
type Connection struct {
	Server string // the server's id
	ID     uint64 // unique on that server
	User   string // the name that the answer to its login gave it
}

// Backlog is what a server holds in memory for a connection because its client has not read
// it yet.
type Backlog struct {
	Connection
	Account string
	Pending uint64 // bytes
}

// Traffic is what a server and its clients have sent to each other since the server started.
type Traffic struct {
	Server   string              // the server's id, another one after each start
	Accounts map[string]Messages // by the name of the account
	Bytes    uint64              // of all messages that it sent
}

// Messages are how many messages a server has received from the clients of an account, and
// how many it has sent to them.
type Messages struct{ Received, Sent uint64 }

// Since returns how many messages there were since an earlier count. A request and its answer
// count as one: only the direction with more messages counts. A number that is lower than
// before counts as zero.
func (m Messages) Since(before Messages) uint64 {
	return max(m.Received-min(before.Received, m.Received), m.Sent-min(before.Sent, m.Sent))
}
