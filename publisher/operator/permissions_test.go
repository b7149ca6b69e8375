package operator_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// apiCalls are the requests to JetStream that nats-server knows, each with the roles that
// may make it. Other roles may not.
var apiCalls = map[string][]operator.Role{
	"$JS.API.INFO":                                {operator.Publisher, operator.Operator},
	"$JS.API.STREAM.NAMES":                        {operator.Publisher, operator.Operator},
	"$JS.API.STREAM.LIST":                         {operator.Publisher, operator.Operator},
	"$JS.API.STREAM.INFO.SIGNOFF":                 {operator.Publisher, operator.Operator, operator.Reader, operator.Partners},
	"$JS.API.STREAM.MSG.GET.SIGNOFF":              {operator.Publisher, operator.Operator, operator.Reader},
	"$JS.API.DIRECT.GET.SIGNOFF":                  {operator.Publisher, operator.Operator, operator.Reader},
	"$JS.API.DIRECT.GET.SIGNOFF.crit.v1.A.x":      {operator.Publisher, operator.Operator},
	"$JS.API.CONSUMER.NAMES.SIGNOFF":              {operator.Publisher, operator.Operator, operator.Partners},
	"$JS.API.CONSUMER.LIST.SIGNOFF":               {operator.Publisher, operator.Operator},
	"$JS.API.CONSUMER.INFO.SIGNOFF.c":             {operator.Publisher, operator.Operator, operator.Partners},
	"$JS.API.CONSUMER.CREATE.SIGNOFF":             {operator.Publisher},
	"$JS.API.CONSUMER.CREATE.SIGNOFF.c":           {operator.Publisher, operator.Partners},
	"$JS.API.CONSUMER.CREATE.SIGNOFF.c.crit.v1.A": {operator.Publisher, operator.Partners},
	"$JS.API.CONSUMER.DURABLE.CREATE.SIGNOFF.c":   {operator.Publisher},
	"$JS.API.CONSUMER.DELETE.SIGNOFF.c":           {operator.Publisher, operator.Partners},
	"$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.c":         {operator.Publisher},
	"$JS.API.CONSUMER.RESET.SIGNOFF.c":            {operator.Publisher},
	"$JS.API.CONSUMER.PAUSE.SIGNOFF.c":            {operator.Publisher},
	"$JS.API.CONSUMER.UNPIN.SIGNOFF.c":            {operator.Publisher},
	"$JS.API.CONSUMER.LEADER.STEPDOWN.SIGNOFF.c":  {operator.Publisher},
	"$JS.API.CONSUMER.PEER.REMOVE.SIGNOFF.c":      {operator.Publisher},
	"$JS.API.CONSUMER.PEER.EVACUATE.SIGNOFF.c":    {operator.Publisher},
	"$JS.API.STREAM.CREATE.SIGNOFF":               {operator.Publisher},
	"$JS.API.STREAM.UPDATE.SIGNOFF":               {operator.Publisher},
	"$JS.API.STREAM.DELETE.SIGNOFF":               {operator.Publisher},
	"$JS.API.STREAM.PURGE.SIGNOFF":                {operator.Publisher},
	"$JS.API.STREAM.SNAPSHOT.SIGNOFF":             {operator.Publisher},
	"$JS.API.STREAM.RESTORE.SIGNOFF":              {operator.Publisher},
	"$JS.API.STREAM.MSG.DELETE.SIGNOFF":           {operator.Publisher},
	"$JS.API.STREAM.LEADER.STEPDOWN.SIGNOFF":      {operator.Publisher},
	"$JS.API.STREAM.PEER.REMOVE.SIGNOFF":          {operator.Publisher},
	"$JS.API.STREAM.PEER.EVACUATE.SIGNOFF":        {operator.Publisher},
	"$JS.API.STREAM.CANCEL_MOVE.SIGNOFF":          {operator.Publisher},
	// Only account SYS may make these; the server refuses them to the publisher, which is in APP.
	"$JS.API.META.LEADER.STEPDOWN":                   {operator.Publisher},
	"$JS.API.META.RESCUE":                            {operator.Publisher},
	"$JS.API.SERVER.REMOVE":                          {operator.Publisher},
	"$JS.API.SERVER.EVACUATE":                        {operator.Publisher},
	"$JS.API.ACCOUNT.PURGE.APP":                      {operator.Publisher},
	"$JS.API.ACCOUNT.STREAM.MOVE.APP.SIGNOFF":        {operator.Publisher},
	"$JS.API.ACCOUNT.STREAM.CANCEL_MOVE.APP.SIGNOFF": {operator.Publisher},
}

// publishing are other subjects, each with the roles that may publish to it.
var publishing = map[string][]operator.Role{
	"in.crit.v1.A.DiagnosticReport.signed":         {operator.Publisher},
	"in.crit.internal.access":                      {operator.Publisher},
	"crit.v1.A.DiagnosticReport.signed":            nil,
	"crit.internal.access":                         nil,
	"crit.partner.acme.access":                     nil,
	"$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1":             nil,
	"$JS.ACK.hub.APP.SIGNOFF.acme=A.1.1.1.1.1.x":   nil,
	"$JS.FC.SIGNOFF.acme=A.x":                      nil,
	"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A":  nil,
	"$JS.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A": nil,
	"$JS.domain.API.STREAM.DELETE.SIGNOFF":         nil,
	"$JSC.R.SIGNOFF":                               nil,
	"$NRG.V.S-R1F-x":                               nil,
	"_INBOX.x":                                     nil,
	"_R_.x.y":                                      nil,
	"_GR_.x.y.crit.v1.A.x":                         nil,
	tenancy.SuspensionSubject:                      {operator.Partners},
	"$SYS._INBOX.N.x":                              {operator.Callout},
	"$SYS.REQ.USER.AUTH":                           nil,
	"$SYS.REQ.USER.INFO":                           nil,
	"$SYS.REQ.CLAIMS.UPDATE":                       {operator.Keeper},
	"$SYS.REQ.CLAIMS.DELETE":                       nil,
	"$SYS.REQ.ACCOUNT.PING.CONNZ":                  nil,
	"$SYS.REQ.ACCOUNT.PING.STATZ":                  {operator.System, operator.Keeper},
	"$SYS.REQ.SERVER.PING.VARZ":                    {operator.System},
	"$SYS.REQ.SERVER.N.KICK":                       {operator.Keeper},
	"$SYS.REQ.SERVER.N.RELOAD":                     nil,
	"$JS.EVENT.ADVISORY.API":                       nil,
}

// subscribing are subjects, each with the roles that may subscribe to it.
var subscribing = map[string][]operator.Role{
	"_INBOX.x":                            {operator.Publisher, operator.Reader, operator.Operator, operator.Partners, operator.System, operator.Keeper},
	"crit.>":                              {operator.Reader, operator.Operator},
	"crit.v1.A.DiagnosticReport.signed":   {operator.Reader, operator.Operator},
	"crit.internal.access":                {operator.Reader, operator.Operator},
	"$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.*": {operator.Partners},
	"$JS.ACK.SIGNOFF.*.*.*.*.*.*":         {operator.Partners},
	"$JS.ACK.*.*.SIGNOFF.*.*.*.*.*.>":     {operator.Partners},
	tenancy.SuspensionSubject:             {operator.Partners},
	"$SYS.REQ.USER.AUTH":                  {operator.Callout},
	"in.crit.>":                           nil,
	"$JS.API.>":                           nil,
	"$JS.EVENT.ADVISORY.>":                nil,
	"$SYS.>":                              nil,
	"_R_.>":                               nil,
	">":                                   nil,
}

func TestEachRoleMayDoWhatTheTablesListAndNoMore(t *testing.T) {
	in := newInstallation(t, 1, false)
	calls := make(map[string][]operator.Role)
	for subject, roles := range apiCalls {
		calls[subject] = roles
		if other := strings.ReplaceAll(subject, "SIGNOFF", "OTHER"); other != subject {
			calls[other] = []operator.Role{operator.Publisher}
		}
	}
	for _, role := range operator.Roles {
		t.Run(string(role), func(t *testing.T) {
			wantRefused(t, role, calls, in.refused(role, calls, func(nc *nats.Conn, subject string) error { return nc.Publish(subject, nil) }))
			wantRefused(t, role, publishing, in.refused(role, publishing, func(nc *nats.Conn, subject string) error { return nc.Publish(subject, nil) }))
			wantRefused(t, role, subscribing, in.refused(role, subscribing, func(nc *nats.Conn, subject string) error {
				_, err := nc.SubscribeSync(subject)
				return err
			}))
		})
	}
}

func wantRefused(t *testing.T, role operator.Role, table map[string][]operator.Role, refused map[string]bool) {
	t.Helper()
	for subject, roles := range table {
		if allowed := slices.Contains(roles, role); allowed == refused[subject] {
			t.Errorf("%s: allowed %t, want %t", subject, !refused[subject], allowed)
		}
	}
}

var violation = regexp.MustCompile(`Permissions Violation for \w+ to "([^"]+)"`)

// refused returns the subjects of the table that the server refuses to a role.
func (in *installation) refused(role operator.Role, table map[string][]operator.Role, do func(*nats.Conn, string) error) map[string]bool {
	in.t.Helper()
	login, err := in.keys.Login(in.roles, role)
	if err != nil {
		in.t.Fatal(err)
	}
	errs := make(chan error, 2*len(table))
	nc, err := nats.Connect(in.urls(), login, nats.Timeout(timeout), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs <- err }))
	if err != nil {
		in.t.Fatal(err)
	}
	defer nc.Close()
	for subject := range table {
		if err := do(nc, subject); err != nil {
			in.t.Fatal(err)
		}
	}
	const last = "surely.denied" // nobody may use it; when the server refuses it, it has refused all others
	if err := do(nc, last); err != nil {
		in.t.Fatal(err)
	}
	refused := make(map[string]bool)
	for !refused[last] {
		select {
		case err := <-errs:
			found := violation.FindStringSubmatch(err.Error())
			if !errors.Is(err, nats.ErrPermissionViolation) || found == nil {
				in.t.Fatal(err)
			}
			refused[found[1]] = true
		case <-time.After(timeout):
			in.t.Fatalf("%s: no answer about %s", role, last)
		}
	}
	return refused
}

// A new version of nats-server may have requests that nobody has thought about.
func TestTheTableListsEachRequestThatTheServerKnows(t *testing.T) {
	known := serverCalls(t)
	if len(known) < 30 {
		t.Fatalf("%q were found", known)
	}
	for _, pattern := range known {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(apiCalls)), func(subject string) bool { return matches(pattern, subject) }) {
			t.Errorf("%s is not in the table; list who may make this request", pattern)
		}
	}
	for subject := range apiCalls {
		if !slices.ContainsFunc(known, func(pattern string) bool { return matches(pattern, subject) }) {
			t.Errorf("%s is in the table; the server does not know it", subject)
		}
	}
}

// serverCalls returns the subjects of requests to JetStream that are constants in the
// source of nats-server.
func serverCalls(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/nats-io/nats-server/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "server", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for _, value := range spec.Values {
				literal, ok := value.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					continue
				}
				text, err := strconv.Unquote(literal.Value)
				if rest, ok := strings.CutPrefix(text, "$JS.API."); ok && err == nil && rest != ">" {
					if text, ok = strings.CutSuffix(text, "%s"); ok {
						text += ">" // such as the subject of a message
					}
					known[strings.ReplaceAll(text, "%s", "*")] = true
				}
			}
			return true
		})
	}
	all := slices.Sorted(maps.Keys(known))
	return slices.DeleteFunc(slices.Clone(all), func(text string) bool { // the beginning of others
		return slices.ContainsFunc(all, func(other string) bool { return strings.HasPrefix(other, strings.TrimSuffix(text, ".")+".") })
	})
}

// matches reports whether a pattern of a subject matches a subject.
func matches(pattern, subject string) bool {
	parts := strings.Split(subject, ".")
	for i, token := range strings.Split(pattern, ".") {
		switch {
		case token == ">":
			return len(parts) > i
		case i >= len(parts) || token != "*" && token != parts[i]:
			return false
		case i == strings.Count(pattern, "."):
			return len(parts) == i+1
		}
	}
	return false
}
