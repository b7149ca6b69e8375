// Package natsconf is the command nats-config: it writes the configuration of
// outside NATS servers, that is, of servers that are not embedded in the program. It
// makes the keys that they and the program need, once, and never contacts a server.
//
// A role is a NATS user of the program, such as publisher or reader; each has credentials
// of its own. The preload is what all servers have in common: the operator, and the
// accounts of the program itself.
package natsconf

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// Command writes the configuration of outside NATS servers, with the accounts and
// permissions that the embedded server has. The configuration does not depend on partners,
// because serve pushes their accounts to the running servers.
type Command struct {
	Out           string         `required:"" help:"Directory to write to; created if it does not exist, for its owner only." placeholder:"DIR"`
	Credentials   string         `help:"Directory for the credentials of the service; default credentials in --out." placeholder:"DIR"`
	Callout       string         `help:"Directory for what signoff callout needs on another machine; default callout in --out." placeholder:"DIR"`
	Node          []string       `default:"signoff-nats" help:"Host name by which the other servers and this program reach a server; repeat for each server of a cluster. Default ${default}." placeholder:"HOST"`
	ClientListen  string         `default:"0.0.0.0:4222" help:"Address for clients; {node} stands for the server's host name. Default ${default}." placeholder:"ADDR"`
	ClusterListen string         `default:"0.0.0.0:6222" help:"Address for the other servers of the cluster; default ${default}." placeholder:"ADDR"`
	MonitorListen string         `default:"127.0.0.1:8222" help:"Address for health checks, without a login; empty for none. Default ${default}." placeholder:"ADDR"`
	StoreDir      string         `default:"/data" help:"Directory in which a server stores the stream and accounts; default ${default}." placeholder:"DIR"`
	ServerCert    string         `help:"Certificate that servers present to clients (PEM); a path on the server." placeholder:"FILE"`
	ServerKey     string         `help:"Its private key." placeholder:"FILE"`
	ClusterCA     string         `name:"cluster-ca" help:"Authorities for the certificates between servers (PEM)." placeholder:"FILE"`
	ClusterCert   string         `help:"Certificate that servers present to each other (PEM)." placeholder:"FILE"`
	ClusterKey    string         `help:"Its private key." placeholder:"FILE"`
	NewKey        []string       `help:"Make another key in place of this one, which may have been stolen: accounts, logins, answers or a role; repeat for more." placeholder:"NAME"`
	Insecure      bool           `help:"Allow plain text on addresses that other machines can reach; for a network that is safe."`
	Reload        natsflags.Gone `hidden:"" help:"no reload is needed: signoff serve pushes partners' accounts to the running servers"`
}

// Run writes the configuration, and first makes the keys if there are none. It writes only
// files whose content changes, and prints which.
func (cmd *Command) Run(ctx context.Context, dir datadir.Dir, t console.Terminal) error {
	if err := cmd.check(ctx); err != nil {
		return err
	}
	if err := dir.Create(); err != nil {
		return err
	}
	// Makes the directory with all keys if there is none, so that --new-key finds it.
	if _, err := operator.OpenKeys(dir.NATSKeys()); err != nil {
		return err
	}
	for _, name := range cmd.NewKey {
		if err := operator.RenewKey(dir.NATSKeys(), name); err != nil {
			return err
		}
	}
	keys, err := operator.OpenKeys(dir.NATSKeys())
	if err != nil {
		return err
	}
	roles, preload, err := keys.StoredPreload(time.Now())
	if err != nil {
		return err
	}
	answers, err := keys.Answers().MarshalText()
	if err != nil {
		return err
	}
	password, err := datadir.KeyFile(dir.RoutePassword(), newPassword)
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(cmd.Out, OperatorConf))
	f := facts{Dir: cmd.Out, Credentials: cmd.Credentials, Callout: cmd.Callout, Servers: cmd.Node, url: cmd.url(), existed: err == nil}
	var out files
	out.write(filepath.Join(cmd.Out, OperatorConf), []byte(preload.Text()))
	for _, node := range cmd.Node {
		out.write(filepath.Join(cmd.Out, node+".conf"), []byte(cmd.node(node, strings.TrimSpace(string(password))).Text()))
	}
	out.credentials(cmd.Credentials, keys, roles, operator.Roles...)
	out.credentials(cmd.Callout, keys, roles, operator.Callout, operator.Reader, operator.Partners)
	out.write(filepath.Join(cmd.Callout, AnswersFile), append(answers, '\n'))
	if out.err != nil {
		return out.err
	}
	f.Changed = out.changed
	return console.PrintFacts(t, f, f.print)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$`)

// check sets the defaults of --credentials and --callout, and returns a UsageError if flags
// are malformed or contradict each other.
func (cmd *Command) check(ctx context.Context) error {
	cmd.Credentials = cmp.Or(cmd.Credentials, filepath.Join(cmd.Out, CredentialsDir))
	cmd.Callout = cmp.Or(cmd.Callout, filepath.Join(cmd.Out, CalloutDir))
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
	if slices.Contains(files, "") != (cmd.ServerCert == "" && cmd.ServerKey == "") { // one without the other
		return console.UsageError("--server-cert and --server-key need each other")
	}
	cluster := []string{cmd.ClusterCA, cmd.ClusterCert, cmd.ClusterKey}
	if slices.Contains(cluster, "") && strings.Join(cluster, "") != "" {
		return console.UsageError("--cluster-ca, --cluster-cert and --cluster-key need each other")
	}
	return cmd.checkListeners(ctx)
}

// checkListeners returns a UsageError if a listen address is malformed, or if a server
// would speak plain text to other machines and --insecure is not set.
func (cmd *Command) checkListeners(ctx context.Context) error {
	for _, l := range []struct {
		flag, address, cert, tls string
		used                     bool // false: the configuration does not contain it
	}{
		{"--client-listen", cmd.ClientListen, cmd.ServerCert, "--server-cert and --server-key", true},
		{"--cluster-listen", cmd.ClusterListen, cmd.ClusterCert, "--cluster-ca, --cluster-cert and --cluster-key", len(cmd.Node) > 1},
		// The configuration of the monitor has no TLS.
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

// node returns the configuration of one server, which includes the file for all servers.
// Password is what the servers of a cluster show to each other.
func (cmd *Command) node(name, password string) natsd.Node {
	expand := func(text string) string { return strings.ReplaceAll(text, "{node}", name) }
	n := natsd.Node{
		Name: name, Listen: expand(cmd.ClientListen), Monitor: expand(cmd.MonitorListen), StoreDir: expand(cmd.StoreDir),
		TLS: natsd.TLSFiles{Cert: cmd.ServerCert, Key: cmd.ServerKey}, Include: OperatorConf,
	}
	n.Accounts = path.Join(n.StoreDir, "jwt")
	if len(cmd.Node) == 1 {
		return n
	}
	n.Cluster = &natsd.Cluster{
		Name: "signoff", Listen: expand(cmd.ClusterListen), User: "route", Password: password,
		TLS: natsd.TLSFiles{Cert: cmd.ClusterCert, Key: cmd.ClusterKey, CA: cmd.ClusterCA},
	}
	_, port, _ := net.SplitHostPort(cmd.ClusterListen) // checkListeners has found no error
	for _, host := range cmd.Node {                    // a server ignores the route to itself
		n.Cluster.Routes = append(n.Cluster.Routes, net.JoinHostPort(host, port))
	}
	return n
}

// url returns the value of --nats-url for these servers.
func (cmd *Command) url() string {
	scheme := "nats://"
	if cmd.ServerCert != "" {
		scheme = "tls://"
	}
	_, port, _ := net.SplitHostPort(cmd.ClientListen) // checkListeners has found no error
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
	Callout     string   `json:"callout"`
	Servers     []string `json:"servers"`
	Changed     []string `json:"changed"` // files that are new or have changed

	url     string // value of --nats-url
	existed bool   // --out had a configuration before
}

func (f facts) print(w io.Writer) {
	fmt.Fprintf(w, "%s: configuration of %s\n", f.Dir, console.Plural(len(f.Servers), "NATS server"))
	for _, name := range f.Changed {
		fmt.Fprintln(w, "  written", name)
	}
	switch {
	case len(f.Changed) == 0:
		fmt.Fprintln(w, "nothing has changed")
	case f.existed:
		fmt.Fprintln(w, "Copy what was written to where it is used, and start the servers concerned again, one after the other.")
	default:
		fmt.Fprintf(w, `Start each server with nats-server -c %[1]s/HOST.conf, then the program with
  signoff serve --nats-url %[2]s --nats-creds '%[3]s/{role}%[4]s' --nats-replicas %[5]d
These files do not change with partners.
`, f.Dir, f.url, f.Credentials, CredsSuffix, len(f.Servers))
	}
}
