package partners_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// loginWithoutReading logs in as a partner over a connection of which nothing is read any more.
func loginWithoutReading(address, id string) (net.Conn, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	hello, err := json.Marshal(map[string]any{"user": id, "pass": secretOf(id), "headers": true, "no_responders": true})
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp", u.Host, timeout)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		conn.(*net.TCPConn).SetReadBuffer(1<<12), // or the kernel takes what it does not read
		conn.SetDeadline(time.Now().Add(timeout)))
	if err == nil {
		_, err = fmt.Fprintf(conn, "CONNECT %s\r\nPING\r\n", hello)
	}
	for said := bufio.NewReader(conn); err == nil; {
		var line string
		if line, err = said.ReadString('\n'); strings.HasPrefix(line, "PONG") {
			return conn, nil
		}
	}
	_ = conn.Close()
	return nil, err
}

// everything are as many subscriptions to a live subject as a connection may have.
func everything(subject string) string {
	var lines strings.Builder
	for i := range events.PartnerSubscriptions {
		fmt.Fprintf(&lines, "SUB %s %d\r\n", subject, i+1)
	}
	return lines.String()
}

func TestAPartnerThatDoesNotReadIsDisconnectedAndLosesNothing(t *testing.T) {
	cfg := config{Limits: tenancy.DefaultLimits(), MaxPending: 4 << 20, AckWait: time.Second, Measure: 10 * time.Millisecond}
	known := []access.Partner{partner("acme", "A"), partner("other", "A")}
	for where, build := range map[string]func(*testing.T) *installation{
		"the embedded server": func(t *testing.T) *installation { return newInstallationIn(t, t.TempDir(), cfg, known...) },
		"a cluster":           func(t *testing.T) *installation { h, _ := newClusterInstallation(t, cfg, known...); return h },
	} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			h := build(t)
			login := func(id string) (nc *nats.Conn) {
				until(t, id+" is let in", func() bool { // each server has to know of the callout first
					var err error
					nc, err = h.login(id)
					return err == nil
				})
				t.Cleanup(nc.Close)
				return nc
			}
			reading, other := login("acme"), login("other")
			stays := []chan nats.Status{reading.StatusChanged(nats.CLOSED), other.StatusChanged(nats.CLOSED)}
			unread := 0
			address, _, _ := strings.Cut(h.servers.ClientURL(), ",")
			for _, lines := range []string{
				everything("crit.v1.A.>"),
				"SUB _INBOX.deaf 1\r\nPUB js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A _INBOX.deaf 13\r\n{\"batch\":900}\r\n",
			} {
				var conn net.Conn
				until(t, "acme is let in once more", func() bool { // the others may have logged in at other servers
					var err error
					conn, err = loginWithoutReading(address, "acme")
					return err == nil
				})
				t.Cleanup(func() { _ = conn.Close() })
				if _, err := fmt.Fprintf(conn, "%s", lines); err != nil {
					t.Fatal(err)
				}
				unread++
			}

			var published []string
			closed := func() float64 { return h.metric("signoff_partners_closed_connections_total", "reads too slowly") }
			until(t, "those that do not read are closed", func() bool {
				body := fmt.Sprintf("%05d", len(published))
				h.publish("A", body+strings.Repeat(" ", 1<<17))
				published = append(published, body)
				return closed() == float64(unread)
			})
			until(t, "the server has forgotten them", func() bool {
				list, err := h.connections("acme")
				return err == nil && len(list) == 1
			})
			for name, nc := range map[string]*nats.Conn{"acme=A": reading, "other=A": other} {
				same(t, "events of "+name, gather(t, consumer(t, nc, name), len(published)), published...)
			}
			for _, status := range stays {
				select {
				case <-status:
					t.Error("a connection that reads was closed")
				default:
				}
			}
		})
	}
}

// gather pulls until it has had n events, each at least once, and returns their names.
func gather(t *testing.T, c jetstream.Consumer, n int) (names []string) {
	t.Helper()
	had := make(map[string]bool)
	for len(had) < n {
		msg, err := c.Next(jetstream.FetchMaxWait(timeout))
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(had), n, err)
		}
		had[strings.TrimSpace(string(msg.Data()))] = true
		if err := msg.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	for name := range had {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
