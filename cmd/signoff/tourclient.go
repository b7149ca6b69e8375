package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// signIn gets a token as the partner does.
func (d *tour) signIn(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.p.publicURL()+token.Path, strings.NewReader(d.form().Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := do(req)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		return "", fmt.Errorf("the token endpoint answered %d", status)
	}
	return answer.Token, nil
}

// get calls the read API as the partner does. A partner that the read model
// does not know yet is waited for.
func (d *tour) get(ctx context.Context, path string) (status int, body []byte, err error) {
	deadline := time.Now().Add(demoTimeout)
	for {
		status, body, err = d.getOnce(ctx, path)
		unknown := status == http.StatusUnauthorized || status == http.StatusForbidden
		if err != nil || !unknown || time.Now().After(deadline) {
			return status, body, err
		}
		if err := pause(ctx); err != nil {
			return 0, nil, err
		}
	}
}

func (d *tour) getOnce(ctx context.Context, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base()+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	req.Header.Set("X-Partnerid", demoPartner)
	return do(req)
}

// await polls until the answer is as wanted.
func (d *tour) await(ctx context.Context, path string, want int, ok func(body []byte) bool) ([]byte, error) {
	deadline := time.Now().Add(demoTimeout)
	for {
		status, body, err := d.get(ctx, path)
		if err != nil {
			return nil, err
		}
		if status == want && ok(body) {
			return body, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("after %s the answer is %d %.200s", demoTimeout, status, body)
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func do(req *http.Request) (status int, body []byte, err error) {
	return doWith(http.DefaultClient, req)
}

func doWith(client *http.Client, req *http.Request) (status int, body []byte, err error) {
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// pause is the time between two polls.
func pause(ctx context.Context) error {
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
