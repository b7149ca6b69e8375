package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// natsConfigCommand writes the configuration of NATS servers that run
// elsewhere: who may do what there is what the embedded server has, with the
// partners of the data directory. It is to be run again, and the servers are to
// reload it, after partners or their grants have changed.
type natsConfigCommand struct {
	Out           string   `required:"" help:"Directory to write to; made if need be, for its owner only." placeholder:"DIR"`
	Credentials   string   `help:"Directory for the service's own secrets; default credentials in that of --out." placeholder:"DIR"`
	Node          []string `default:"signoff-nats" help:"Host name of a server, by which the others and this program reach it; repeat for each of a cluster." placeholder:"HOST"`
	ClientListen  string   `default:"0.0.0.0:4222" help:"Where a server listens for clients; {node} stands for its host name." placeholder:"ADDR"`
	ClusterListen string   `default:"0.0.0.0:6222" help:"Where a server listens for the others." placeholder:"ADDR"`
	MonitorListen string   `default:"127.0.0.1:8222" help:"Where a server answers about its health, to anyone who asks; empty for nowhere." placeholder:"ADDR"`
	StoreDir      string   `default:"/data" help:"Where a server keeps the stream." placeholder:"DIR"`
	ServerCert    string   `help:"Certificate that servers show clients (PEM), as they find it." placeholder:"FILE"`
	ServerKey     string   `help:"Its private key." placeholder:"FILE"`
	ClusterCA     string   `name:"cluster-ca" help:"Who vouches for the servers among each other (PEM)." placeholder:"FILE"`
	ClusterCert   string   `help:"Certificate that servers show each other (PEM)." placeholder:"FILE"`
	ClusterKey    string   `help:"Its private key." placeholder:"FILE"`
	Insecure      bool     `help:"Speak plain text on addresses that other machines reach; for a network that is safe."`
	Reload        bool     `help:"Have the running servers, which must read DIR themselves, take up what has changed: as system at --nats-url, by default with the password in the directory of --credentials."`
	natsFlags
}

func (cmd *natsConfigCommand) Run(ctx context.Context, c *common, t terminal) error {
	if err := cmd.check(ctx); err != nil {
		return err
	}
	accounts, err := partnerAccounts(ctx, c)
	if err != nil {
		return err
	}
	seed, err := c.dir().loginSeed()
	if err != nil {
		return err
	}
	issuer, err := callout.IssuerKey(seed)
	if err != nil {
		return err
	}
	out := natsFiles{dir: cmd.Out, secrets: cmd.Credentials}
	out.write(out.own(loginKeyFile), string(seed))
	credentials := out.credentials()
	out.write(out.shared(accountsConf), out.accounts(natsd.Configuration{Credentials: credentials, LoginIssuer: issuer, Partners: accounts}))
	route := out.secret(out.own(routePassword))
	for _, node := range cmd.Node {
		out.write(out.shared(node+".conf"), cmd.node(node, route).Text())
	}
	if out.err != nil {
		return out.err
	}
	facts := natsConfigFacts{
		Dir: cmd.Out, Credentials: cmd.Credentials, Partners: len(accounts), Servers: cmd.Node,
		Changed: out.changed, Reloads: out.reloads(accounts), url: cmd.url(),
	}
	if cmd.Reload {
		if facts.Reloaded, err = cmd.reach(quiet).Reload(ctx, accounts); err != nil {
			return err
		}
		facts.Reloads = 0
	}
	return printFacts(c, t, facts, facts.print)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$`)

func (cmd *natsConfigCommand) check(ctx context.Context) error {
	cmd.Credentials = cmp.Or(cmd.Credentials, filepath.Join(cmd.Out, credentialsDir))
	for i, node := range cmd.Node {
		if !hostName.MatchString(node) {
			return usageError("--node must be a host name or an IPv4 address")
		}
		if slices.Contains(cmd.Node[:i], node) {
			return usageError("--node " + node + " is there twice; each server has a name of its own")
		}
	}
	if len(cmd.Node) == 2 {
		return usageError("two servers are less safe than one: both would be needed; give one --node, or three")
	}
	files := []string{cmd.ServerCert, cmd.ServerKey}
	if slices.Contains(files, "") != (cmd.ServerCert == "" && cmd.ServerKey == "") {
		return usageError("--server-cert and --server-key go together")
	}
	inner := []string{cmd.ClusterCA, cmd.ClusterCert, cmd.ClusterKey}
	if slices.Contains(inner, "") && strings.Join(inner, "") != "" {
		return usageError("--cluster-ca, --cluster-cert and --cluster-key go together")
	}
	if cmd.Reload && !cmd.outside() {
		return usageError("--reload needs --nats-url, where the servers are")
	}
	if cmd.Reload && cmd.secrets() == 0 {
		cmd.NATSPasswordFile = filepath.Join(cmd.Credentials, "{role}"+passwordSuffix)
	}
	if cmd.Reload {
		if err := cmd.natsFlags.check(ctx, cmd.Insecure); err != nil {
			return err
		}
	}
	return cmd.checkListeners(ctx)
}

func (cmd *natsConfigCommand) checkListeners(ctx context.Context) error {
	for _, l := range []struct {
		flag, address, cert, tls string
		used                     bool
	}{
		{"--client-listen", cmd.ClientListen, cmd.ServerCert, "--server-cert and --server-key", true},
		{"--cluster-listen", cmd.ClusterListen, cmd.ClusterCert, "--cluster-ca, --cluster-cert and --cluster-key", len(cmd.Node) > 1},
		{"--monitor-listen", cmd.MonitorListen, "", "an address of 127.0.0.1", cmd.MonitorListen != ""},
	} {
		if !l.used {
			continue
		}
		for _, node := range cmd.Node {
			address := strings.ReplaceAll(l.address, "{node}", node)
			if _, _, err := net.SplitHostPort(address); err != nil {
				return usageError(fmt.Sprintf("%s %s is not host:port", l.flag, address))
			}
			if !cmd.Insecure && l.cert == "" && !loopbackOnly(ctx, address) {
				return usageError(fmt.Sprintf("%s %s can be reached from other machines and would speak plain text: give %s, or --insecure if the network is safe", l.flag, address, l.tls))
			}
		}
	}
	return nil
}

// partnerAccounts are the accounts of all partners, with what is granted now.
// Without an outbox there are none yet.
func partnerAccounts(ctx context.Context, c *common) (accounts []tenancy.Account, err error) {
	if _, err := os.Stat(c.dir().outbox()); errors.Is(err, fs.ErrNotExist) {
		return nil, c.dir().make()
	}
	err = withOutbox(ctx, c, func(o *outbox.Outbox) error {
		partners, err := o.Accounts().Partners(ctx)
		if err != nil {
			return err
		}
		for _, p := range partners {
			if !p.Enabled {
				continue
			}
			var tokens []string
			for _, study := range p.Studies {
				tokens = append(tokens, events.StudyKey(study))
			}
			slices.Sort(tokens)
			accounts = append(accounts, tenancy.AccountOf(p.ID, tokens, tenancy.DefaultLimits()))
		}
		return nil
	})
	return accounts, err
}

// node is what a server has for itself.
func (cmd *natsConfigCommand) node(name, password string) natsd.Node {
	of := func(address string) string { return strings.ReplaceAll(address, "{node}", name) }
	n := natsd.Node{
		Name: name, Listen: of(cmd.ClientListen), Monitor: of(cmd.MonitorListen), StoreDir: of(cmd.StoreDir),
		TLS: natsd.TLSFiles{Cert: cmd.ServerCert, Key: cmd.ServerKey}, Include: accountsConf,
	}
	if len(cmd.Node) == 1 {
		return n
	}
	n.Cluster = &natsd.Cluster{
		Name: "signoff", Listen: of(cmd.ClusterListen), User: "route", Password: password,
		TLS: natsd.TLSFiles{Cert: cmd.ClusterCert, Key: cmd.ClusterKey, CA: cmd.ClusterCA},
	}
	_, port, _ := net.SplitHostPort(cmd.ClusterListen) // checked
	for _, other := range cmd.Node {
		n.Cluster.Routes = append(n.Cluster.Routes, net.JoinHostPort(other, port))
	}
	return n
}

// url is where the program reaches the servers.
func (cmd *natsConfigCommand) url() string {
	scheme := "nats://"
	if cmd.ServerCert != "" {
		scheme = "tls://"
	}
	_, port, _ := net.SplitHostPort(cmd.ClientListen) // checked
	var all []string
	for _, node := range cmd.Node {
		all = append(all, scheme+net.JoinHostPort(node, port))
	}
	return strings.Join(all, ",")
}

// natsConfigFacts is what the command prints.
type natsConfigFacts struct {
	Dir         string   `json:"dir"`
	Credentials string   `json:"credentials"`
	Partners    int      `json:"partners"`
	Servers     []string `json:"servers"`
	Changed     []string `json:"changed"` // files that are new or read otherwise than before
	Reloads     int      `json:"reloads"` // so often running servers must reload yet
	Reloaded    int      `json:"reloaded,omitempty"`

	url string // of all servers
}

func (f natsConfigFacts) print(w io.Writer) {
	fmt.Fprintf(w, "%s: configuration of %s with %s\n", f.Dir, plural(len(f.Servers), "NATS server"), plural(f.Partners, "partner"))
	for _, name := range f.Changed {
		fmt.Fprintln(w, "  written", name)
	}
	switch {
	case f.Reloaded > 0:
		fmt.Fprintln(w, "the servers have taken it up")
	case len(f.Changed) == 0:
		fmt.Fprintln(w, "nothing has changed; nothing is to be reloaded")
	case f.Reloads > 0:
		again := ""
		if f.Reloads > 1 {
			again = ", twice, because a server hears the services of a new account from the second on"
		}
		fmt.Fprintf(w, "Have each running server take it up: nats-server --signal reload, or --reload here%s. New partners and grants begin with that.\n"+
			"What was withdrawn has ended already: logins refuse it, its consumers are deleted, its connections closed.\n", again)
	default:
		f.printFirst(w)
	}
}

func (f natsConfigFacts) printFirst(w io.Writer) {
	fmt.Fprintf(w, `Start each server with nats-server -c %[1]s/HOST.conf, then the program with
  signoff serve --nats-url %[2]s --nats-password-file '%[3]s/{role}%[4]s' --nats-replicas %[5]d
After partner add, grant, revoke and remove: this command again, then nats-server --signal reload.
`, f.Dir, f.url, f.Credentials, passwordSuffix, len(f.Servers))
}
