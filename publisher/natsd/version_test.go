package natsd_test

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// disguise is in front of a server and has it say that its version is another one.
type disguise struct {
	net.Listener
	server  atomic.Value // string; its address
	version atomic.Value // string; the server's own if not set
	away    atomic.Bool
	mu      sync.Mutex
	open    []net.Conn
}

func newDisguise(t *testing.T, url string) *disguise {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &disguise{Listener: listener}
	d.front(url)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { d.carry(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		d.cut()
		serving.Wait()
	})
	return d
}

// front sets the server that it is in front of.
func (d *disguise) front(url string) { d.server.Store(strings.TrimPrefix(url, "nats://")) }

func (d *disguise) url() string { return "nats://" + d.Addr().String() }

var versionInInfo = regexp.MustCompile(`"version":"[^"]*"`)

// carry connects a client with the server, which says INFO first and now and then.
func (d *disguise) carry(client net.Conn) {
	server, err := net.DialTimeout("tcp", d.server.Load().(string), time.Minute)
	if err == nil && d.away.Load() {
		_ = server.Close()
		err = io.EOF
	}
	if err != nil {
		_ = client.Close()
		return
	}
	d.mu.Lock()
	d.open = append(d.open, client, server)
	d.mu.Unlock()
	var carrying sync.WaitGroup
	carrying.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
	said := bufio.NewReader(server)
	for err == nil {
		var line []byte
		line, err = said.ReadBytes('\n')
		if version, ok := d.version.Load().(string); ok && bytes.HasPrefix(line, []byte("INFO ")) {
			line = versionInInfo.ReplaceAll(line, []byte(`"version":"`+version+`"`))
		}
		_, writeErr := client.Write(line)
		err = cmp.Or(err, writeErr)
	}
	_ = client.Close()
	carrying.Wait()
}

// cut closes all connections.
func (d *disguise) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.open {
		_ = c.Close()
	}
	d.open = nil
}

func TestAServerThatIsTooOldIsRefusedAtTheStart(t *testing.T) {
	e := newElsewhere(t)
	for version, accepted := range map[string]bool{
		"2.15.3": true, "v2.15.3": true, "2.15.4": true, "2.15.10": true, "2.16.0": true, "2.16.0-beta": true, "2.16.0-preview.1": true, "3.0.0": true, "2.15.3+build.7": true,
		"2.15.2": false, "v2.15.2": false, "2.15.3-RC.1": false, "2.15.3-beta": false, "2.15.0": false, "2.9.25": false, "2.9.99": false, "2.1.0": false, "1.99.99": false, "0.0.0": false,
		"": false, "v": false, "latest": false, "2.15": false, "2.15.x": false, "2.15.3.1": false, "02.15.3": false, "-1": false, "vv2.15.3": false,
	} {
		t.Run("version "+version, func(t *testing.T) {
			d := newDisguise(t, e.server.ClientURL())
			d.version.Store(version)
			for _, role := range []natsd.Role{natsd.Publisher, natsd.Reader, natsd.Partners} {
				nc, err := reach(d.url(), e.c).Connect(role)
				if accepted {
					if err != nil {
						t.Fatal(err)
					}
					nc.Close()
					continue
				}
				if nc != nil || !errors.Is(err, natsd.ErrOldServer) {
					t.Fatalf("connected: %t, %v", nc != nil, err)
				}
				for _, part := range []string{`"one"`, `"` + version + `"`, "2.15.3 or later"} { // which server, what is wrong, what to do
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not say %s", err, part)
					}
				}
			}
		})
	}
	t.Run("but not by people, who may have to look at it", func(t *testing.T) {
		d := newDisguise(t, e.server.ClientURL())
		d.version.Store("2.15.2")
		for _, role := range []natsd.Role{natsd.Operator, natsd.System} {
			nc, err := reach(d.url(), e.c).Connect(role)
			if err != nil {
				t.Fatal(err)
			}
			nc.Close()
		}
	})
}

// The server that is connected to says that it is new enough, and that all of its
// cluster are what they are.
func TestAnotherServerOfTheClusterThatIsTooOldIsRefusedAtTheStart(t *testing.T) {
	e := newElsewhere(t)
	d := newDisguise(t, e.server.ClientURL())
	d.version.Store("9.1.0")
	options := func(known func(natsd.Role) bool) func(natsd.Role) ([]nats.Option, error) {
		return func(r natsd.Role) ([]nats.Option, error) {
			if !known(r) {
				return nil, errors.New("no credentials for " + string(r))
			}
			return optionsOf(e.c)(r)
		}
	}
	cfg := natsd.OutsideConfig{URL: d.url(), Timeout: time.Minute, Oldest: "9.0.0", Log: slog.New(slog.DiscardHandler)}

	cfg.Options = options(func(natsd.Role) bool { return true })
	o := natsd.Reach(cfg)
	if nc, err := o.Connect(natsd.Reader); nc != nil || !errors.Is(err, natsd.ErrOldServer) || !strings.Contains(err.Error(), `"one"`) {
		t.Errorf("connected: %t, %v", nc != nil, err)
	}
	t.Run("unless nobody can know of it", func(t *testing.T) {
		cfg.Options = options(func(r natsd.Role) bool { return r != natsd.Keeper })
		o := natsd.Reach(cfg)
		nc, err := o.Connect(natsd.Reader)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	})
}

func TestAServerThatIsTooOldIsNoticedLater(t *testing.T) {
	e := newElsewhere(t)
	connected := func(t *testing.T, d *disguise, log io.Writer) (*natsd.Outside, *nats.Conn) {
		t.Helper()
		o := natsd.Reach(natsd.OutsideConfig{
			URL: d.url(), Timeout: time.Minute, Log: slog.New(slog.NewTextHandler(log, nil)),
			Options: optionsOf(e.c),
		})
		nc, err := o.Connect(natsd.Reader, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return o, nc
	}
	eventually := func(t *testing.T, what string, holds func() bool) {
		t.Helper()
		deadline := time.NewTimer(time.Minute)
		defer deadline.Stop()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for !holds() {
			select {
			case <-tick.C:
			case <-deadline.C:
				t.Fatalf("waited in vain: %s", what)
			}
		}
	}
	t.Run("on a reconnect, and is used", func(t *testing.T) {
		var log lockedBuffer
		d := newDisguise(t, e.server.ClientURL())
		o, nc := connected(t, d, &log)
		d.version.Store("2.15.2")
		d.cut()
		eventually(t, "the log says so", func() bool { return log.count("2.15.2") > 0 })
		if err := o.TooOld(t.Context()); !errors.Is(err, natsd.ErrOldServer) {
			t.Errorf("too old: %v", err)
		}
		if err := nc.FlushTimeout(time.Minute); err != nil {
			t.Errorf("it is not used: %v", err)
		}
		d.version.Store("2.15.3")
		d.cut()
		eventually(t, "the new server is noticed", func() bool { return o.TooOld(t.Context()) == nil })
	})
	t.Run("although the caller has a handler of its own", func(t *testing.T) {
		d := newDisguise(t, e.server.ClientURL())
		o := reach(d.url(), e.c)
		called := make(chan bool, 1)
		nc, err := o.Connect(natsd.Reader, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectHandler(func(*nats.Conn) {
			select {
			case called <- true:
			default:
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		d.version.Store("2.15.2")
		d.cut()
		eventually(t, "the old server is noticed", func() bool { return errors.Is(o.TooOld(t.Context()), natsd.ErrOldServer) })
		eventually(t, "the caller's handler is called", func() bool { return len(called) > 0 })
	})
	t.Run("by each connection until it is closed, whatever others of its role use", func(t *testing.T) {
		d := newDisguise(t, e.server.ClientURL())
		o := reach(d.url(), e.c)
		open := make(map[string]*nats.Conn)
		for _, version := range []string{"2.15.1", "2.15.2", "2.15.3"} {
			d.version.Store(version)
			nc, err := o.Connect(natsd.Keeper)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			open[version] = nc
		}
		names := func(versions ...string) bool {
			err := o.TooOld(t.Context())
			for _, version := range []string{"2.15.1", "2.15.2"} {
				if err != nil && strings.Contains(err.Error(), `"`+version+`"`) != slices.Contains(versions, version) {
					return false
				}
			}
			return errors.Is(err, natsd.ErrOldServer) == (len(versions) > 0)
		}
		if !names("2.15.1", "2.15.2") {
			t.Errorf("too old: %v", o.TooOld(t.Context()))
		}
		open["2.15.2"].Close()
		eventually(t, "the closed one does not count", func() bool { return names("2.15.1") })
		open["2.15.1"].Close()
		eventually(t, "none counts", func() bool { return names() })
	})
	t.Run("when it was away at the start, and is used", func(t *testing.T) {
		var log lockedBuffer
		d := newDisguise(t, e.server.ClientURL())
		d.version.Store("2.15.2")
		d.away.Store(true)
		o, nc := connected(t, d, &log)
		d.away.Store(false)
		eventually(t, "the log says so", func() bool { return log.count("2.15.2") > 0 })
		if err := o.TooOld(t.Context()); !errors.Is(err, natsd.ErrOldServer) {
			t.Errorf("too old: %v", err)
		}
		if err := nc.FlushTimeout(time.Minute); err != nil {
			t.Errorf("it is not used: %v", err)
		}
	})
}
