package main

import (
	"cmp"

	"github.com/alecthomas/kong"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/demo"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsconf"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/source"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// cli is the command line.
type cli struct {
	common
	Version kong.VersionFlag `env:"-" help:"Print the versions of the program, of Go and of the embedded NATS server."`

	Serve   serveCommand   `cmd:"" help:"Run everything: outbox, publisher, read model, read API, desk."`
	Callout calloutCommand `cmd:"" help:"Answer partners' logins to an outside NATS server beside serve."`
	Demo    demo.Command   `cmd:"" help:"Take a two-minute tour on made-up data."`

	PI       piCommand       `cmd:"" name:"pi" help:"Principal investigators: who may sign for which studies."`
	Partner  partnerCommand  `cmd:"" help:"Partners: who may see which studies."`
	Source   source.Command  `cmd:"" help:"Source systems: who may hand in assessments of which studies."`
	Keys     keysCommand     `cmd:"" help:"Keys that sign access tokens."`
	Import   importCommand   `cmd:"" help:"Register assessments from files, unsigned."`
	Waiting  waitingCommand  `cmd:"" help:"List what waits for a signature."`
	Show     showCommand     `cmd:"" help:"Print an assessment as a PI signs it, with its versions and signatures."`
	Check    checkCommand    `cmd:"" help:"Compare recorded responses with those that RECIST 1.1 gives."`
	Sign     signCommand     `cmd:"" help:"Sign off assessments, so that partners see them."`
	Withdraw withdrawCommand `cmd:"" help:"Withdraw a published assessment, with a reason."`
	Audit    auditCommand    `cmd:"" help:"Print the audit trail, oldest first, or check it."`
	Clock    clockCommand    `cmd:"" help:"The clock by which is signed."`
	Status   statusCommand   `cmd:"" help:"Print what is signed, published and applied."`
	Release  releaseCommand  `cmd:"" help:"Publish a parked study again."`
	Rebuild  rebuildCommand  `cmd:"" help:"Make the read model anew from the stream."`

	NATSConfig natsconf.Command `cmd:"" name:"nats-config" help:"Write the configuration of an outside NATS server or cluster."`
	Ready      readyCommand     `cmd:"" help:"Exit with status 0 if the server on the data directory is ready, otherwise 1; for health checks."`
}

// common holds the flags of every command.
type common struct {
	Data string `help:"Data directory; default ./data, of the demo ./signoff-demo." placeholder:"DIR"`
	JSON bool   `name:"json" help:"Print facts as JSON."`

	AllowGroup bool `help:"Allow the group of the data directory to write it; then each member of the group may administer signoff."`

	outbox *outbox.Outbox // an open outbox that commands use; nil: they open that in Data
}

// dir returns the data directory. After resolve, symbolic links in its path are resolved.
func (c *common) dir() datadir.Dir { return datadir.Dir(c.Data) }

// resolve sets Data to the path of the data directory, which is fallback if no flag names
// one, and checks who can change the directory, unless commands use another open outbox.
func (c *common) resolve(fallback string) error {
	if c.outbox != nil {
		c.Data = cmp.Or(c.Data, fallback)
		return nil
	}
	dir, err := datadir.Resolve(cmp.Or(c.Data, fallback), c.AllowGroup)
	c.Data = string(dir)
	return err
}
