// Package natsconf is the command nats-config: it writes the configuration of
// NATS servers that run outside of the program.
package natsconf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Command writes the configuration of outside NATS servers, with the permissions that the
// embedded server has and the partners of the data directory. After partners or their
// grants have changed, it must run again, and the servers must reload the configuration.
type Command struct {
	Out           string   `required:"" help:"Directory to write to; created if it does not exist, for its owner only." placeholder:"DIR"`
	Credentials   string   `help:"Directory for the service's own secrets; default credentials in --out." placeholder:"DIR"`
	Node          []string `default:"signoff-nats" help:"Host name by which the other servers and this program reach a server; repeat for each server of a cluster." placeholder:"HOST"`
	ClientListen  string   `default:"0.0.0.0:4222" help:"Address for clients; {node} stands for the server's host name." placeholder:"ADDR"`
	ClusterListen string   `default:"0.0.0.0:6222" help:"Address for the other servers of the cluster." placeholder:"ADDR"`
	MonitorListen string   `default:"127.0.0.1:8222" help:"Address for health checks, without a login; empty for none." placeholder:"ADDR"`
	StoreDir      string   `default:"/data" help:"Directory in which a server stores the stream." placeholder:"DIR"`
	ServerCert    string   `help:"Certificate that servers present to clients (PEM); a path on the server." placeholder:"FILE"`
	ServerKey     string   `help:"Its private key." placeholder:"FILE"`
	ClusterCA     string   `name:"cluster-ca" help:"Authorities for the certificates between servers (PEM)." placeholder:"FILE"`
	ClusterCert   string   `help:"Certificate that servers present to each other (PEM)." placeholder:"FILE"`
	ClusterKey    string   `help:"Its private key." placeholder:"FILE"`
	Insecure      bool     `help:"Allow plain text on addresses that other machines can reach; for a network that is safe."`
	Reload        bool     `help:"Make the running servers reload the configuration, which they must read from DIR: as user system at --nats-url, by default with the password in --credentials."`
	natsflags.Flags
}

// Run writes the configuration, and with --reload makes the servers read it.
func (cmd *Command) Run(ctx context.Context, dir datadir.Dir, t console.Terminal) error {
	if err := cmd.check(ctx); err != nil {
		return err
	}
	accounts, err := partnerAccounts(ctx, dir)
	if err != nil {
		return err
	}
	seed, err := dir.LoginSeed()
	if err != nil {
		return err
	}
	issuer, err := callout.IssuerKey(seed)
	if err != nil {
		return err
	}
	out := files{dir: cmd.Out, secrets: cmd.Credentials}
	out.write(out.own(LoginKeyFile), string(seed))
	credentials := out.credentials()
	out.write(out.shared(AccountsConf), out.accounts(natsd.Configuration{Credentials: credentials, LoginIssuer: issuer, Partners: accounts}))
	route := out.secret(out.own(routePassword))
	for _, node := range cmd.Node {
		out.write(out.shared(node+".conf"), cmd.node(node, route).Text())
	}
	if out.err != nil {
		return out.err
	}
	facts := facts{
		Dir: cmd.Out, Credentials: cmd.Credentials, Partners: len(accounts), Servers: cmd.Node,
		Changed: out.changed, Reloads: out.reloads(accounts), url: cmd.url(),
	}
	if cmd.Reload {
		if facts.Reloaded, err = cmd.Reach(slog.New(slog.DiscardHandler)).Reload(ctx, accounts); err != nil {
			return err
		}
		facts.Reloads = 0
	}
	return console.PrintFacts(t, facts, facts.print)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$`)

func (cmd *Command) check(ctx context.Context) error {
	cmd.Credentials = cmp.Or(cmd.Credentials, filepath.Join(cmd.Out, CredentialsDir))
	for i, node := range cmd.Node {
		if !hostName.MatchString(node) {
			return console.UsageError("--node must be a host name or an IPv4 address")
		}
		if slices.Contains(cmd.Node[:i], node) {
			return console.UsageError("--node " + node + " is given twice; each server needs its own name")
		}
	}
	if len(cmd.Node) == 2 {
		return console.UsageError("two servers are less safe than one, because both are needed; use one --node or three")
	}
	files := []string{cmd.ServerCert, cmd.ServerKey}
	if slices.Contains(files, "") != (cmd.ServerCert == "" && cmd.ServerKey == "") {
		return console.UsageError("--server-cert and --server-key need each other")
	}
	inner := []string{cmd.ClusterCA, cmd.ClusterCert, cmd.ClusterKey}
	if slices.Contains(inner, "") && strings.Join(inner, "") != "" {
		return console.UsageError("--cluster-ca, --cluster-cert and --cluster-key need each other")
	}
	if cmd.Reload && !cmd.Outside() {
		return console.UsageError("--reload needs --nats-url")
	}
	if cmd.Reload && cmd.Secrets() == 0 {
		cmd.NATSPasswordFile = filepath.Join(cmd.Credentials, "{role}"+PasswordSuffix)
	}
	if cmd.Reload {
		if err := cmd.Flags.Check(ctx, cmd.Insecure); err != nil {
			return err
		}
	}
	return cmd.checkListeners(ctx)
}

func (cmd *Command) checkListeners(ctx context.Context) error {
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
				return console.UsageError(fmt.Sprintf("%s %s is not host:port", l.flag, address))
			}
			if !cmd.Insecure && l.cert == "" && !natsflags.LoopbackOnly(ctx, address) {
				return console.UsageError(fmt.Sprintf("%s %s can be reached from other machines and would speak plain text: use %s, or --insecure if the network is safe", l.flag, address, l.tls))
			}
		}
	}
	return nil
}

// partnerAccounts returns the accounts of all partners, with the present grants. Without an
// outbox there are none.
func partnerAccounts(ctx context.Context, dir datadir.Dir) (accounts []tenancy.Account, err error) {
	if _, err := os.Stat(dir.Outbox()); errors.Is(err, fs.ErrNotExist) {
		return nil, dir.Create()
	}
	o, err := outbox.Open(ctx, dir.Outbox(), outbox.Config{})
	if err != nil {
		return nil, err
	}
	partners, err := o.Accounts().Partners(ctx)
	for _, p := range partners {
		if !p.Enabled {
			continue
		}
		var keys []string
		for _, study := range p.Studies {
			keys = append(keys, events.StudyKey(study))
		}
		slices.Sort(keys)
		accounts = append(accounts, tenancy.AccountOf(p.ID, keys, tenancy.DefaultLimits()))
	}
	return accounts, errors.Join(err, o.Close())
}

// node returns the part of the configuration that differs between servers.
func (cmd *Command) node(name, password string) natsd.Node {
	of := func(address string) string { return strings.ReplaceAll(address, "{node}", name) }
	n := natsd.Node{
		Name: name, Listen: of(cmd.ClientListen), Monitor: of(cmd.MonitorListen), StoreDir: of(cmd.StoreDir),
		TLS: natsd.TLSFiles{Cert: cmd.ServerCert, Key: cmd.ServerKey}, Include: AccountsConf,
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

// url returns the value of --nats-url for these servers.
func (cmd *Command) url() string {
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

// facts are what the command prints.
type facts struct {
	Dir         string   `json:"dir"`
	Credentials string   `json:"credentials"`
	Partners    int      `json:"partners"`
	Servers     []string `json:"servers"`
	Changed     []string `json:"changed"` // files that are new or have changed
	Reloads     int      `json:"reloads"` // how often running servers have to reload now
	Reloaded    int      `json:"reloaded,omitempty"`

	url string // of all servers
}

func (f facts) print(w io.Writer) {
	fmt.Fprintf(w, "%s: configuration of %s with %s\n", f.Dir, console.Plural(len(f.Servers), "NATS server"), console.Plural(f.Partners, "partner"))
	for _, name := range f.Changed {
		fmt.Fprintln(w, "  written", name)
	}
	switch {
	case f.Reloaded > 0:
		fmt.Fprintln(w, "the servers have reloaded the configuration")
	case len(f.Changed) == 0:
		fmt.Fprintln(w, "nothing has changed; no reload is needed")
	case f.Reloads > 0:
		again := ""
		if f.Reloads > 1 {
			again = ", twice, because a server needs a second reload for the services of a new account"
		}
		fmt.Fprintf(w, "Make each running server reload it: nats-server --signal reload, or --reload here%s. New partners and grants take effect then.\n"+
			"Revocations are in effect already: logins are refused, consumers deleted and connections closed.\n", again)
	default:
		f.printFirst(w)
	}
}

func (f facts) printFirst(w io.Writer) {
	fmt.Fprintf(w, `Start each server with nats-server -c %[1]s/HOST.conf, then the program with
  signoff serve --nats-url %[2]s --nats-password-file '%[3]s/{role}%[4]s' --nats-replicas %[5]d
After partner add, grant, revoke and remove: this command again, then nats-server --signal reload.
`, f.Dir, f.url, f.Credentials, PasswordSuffix, len(f.Servers))
}
