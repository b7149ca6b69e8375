package natsd

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Reload has all servers take up their configuration files again, and once more
// if one of the partners' accounts needs that. It returns how often.
func (o *Outside) Reload(ctx context.Context, partners []tenancy.Account) (times int, err error) {
	nc, err := o.Connect(System)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	for {
		if err := o.reload(ctx, nc); err != nil {
			return times, err
		}
		times++
		err := o.configured(ctx, partners)
		if !errors.Is(err, ErrNotConfigured) || times == 2 {
			return times, err
		}
	}
}

func (o *Outside) configured(ctx context.Context, partners []tenancy.Account) error {
	for _, a := range partners {
		missing, err := o.missing(ctx, a)
		if err := errors.Join(err, missing); err != nil {
			return err
		}
	}
	return nil
}

func (o *Outside) reload(ctx context.Context, nc *nats.Conn) error {
	servers, err := o.askBy(ctx, nc, "$SYS.REQ.SERVER.PING.STATSZ", nil)
	if err != nil {
		return err
	}
	for _, s := range servers {
		answers, err := request(nc, "$SYS.REQ.SERVER."+s.Server.ID+".RELOAD", nil)
		if err != nil {
			return err
		}
		r, err := next(ctx, answers)
		if err := errors.Join(err, answers.Unsubscribe()); err != nil {
			return fmt.Errorf("server %s has not said that it reloaded: %w", s.Server.Name, err)
		}
		if r.Error != nil {
			return fmt.Errorf("server %s does not reload: %s", s.Server.Name, r.Error.Description)
		}
	}
	return nil
}
