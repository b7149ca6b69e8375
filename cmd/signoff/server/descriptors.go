package server

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
)

// How the file descriptors that the process may open are divided. Whoever opens many
// connections must not prevent the program from opening its files.
const (
	reservedDescriptors = 128  // of databases, the stream, keys, the listeners of the operator and the desk
	minConnections      = 32   // to the read API, and to NATS
	maxAPIConnections   = 8192 // that are the default at most
	maxNATSConnections  = 65536
	maxOpsConnections   = 32 // to the operator's listener
	minDeskConnections  = 32 // to the desk's
	maxDeskConnections  = 256
)

// limitConnections decides how many connections to the read API and to the embedded NATS
// server may be open, from the limit of the process and --max-connections.
func (p *Server) limitConnections() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read how many files the process may open: %w", err)
	}
	const most = 1 << 20 // it may be unlimited
	api, nats, err := divideDescriptors(int(min(limit.Cur, most)), p.Settings.MaxConnections, p.Settings.Outside())
	p.maxAPIConnections, p.maxNATSConnections, p.maxDeskConnections = api, nats, deskConnections(int(min(limit.Cur, most)))
	return err
}

// deskConnections returns how many connections to the desk may be open in a process that may
// open limit files. Of the first thousand it has no more than are reserved.
func deskConnections(limit int) int {
	return min(minDeskConnections+max(limit-1024, 0)/8, maxDeskConnections)
}

// divideDescriptors returns how many connections to the read API and to the embedded NATS
// server may be open in a process that may open limit files. Wanted is that of the read API
// if it is not 0. The embedded server does not run if outside is set.
func divideDescriptors(limit, wanted int, outside bool) (api, nats int, err error) {
	free, forNATS := limit-reservedDescriptors-(deskConnections(limit)-minDeskConnections), minConnections
	if outside {
		forNATS = 0
	}
	switch {
	case free < minConnections+forNATS:
		return 0, 0, fmt.Errorf("the process may open only %d files; allow at least %d with ulimit -n or the setting of your supervisor",
			limit, reservedDescriptors+minConnections+forNATS)
	case wanted < 0:
		return 0, 0, console.UsageError("--max-connections must be at least 1")
	case wanted > free-forNATS:
		return 0, 0, console.UsageError(fmt.Sprintf("--max-connections may be at most %d, because the process may open %d files; allow more with ulimit -n or the setting of your supervisor",
			free-forNATS, limit))
	case wanted > 0:
		api = wanted
	case outside:
		api = min(free, maxAPIConnections)
	default:
		api = min(free/2, maxAPIConnections)
	}
	if !outside {
		nats = min(free-api, maxNATSConnections)
	}
	return api, nats, nil
}
