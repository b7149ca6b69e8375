package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// signIn gets an access token as the partner does.
func (d *tour) signIn(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.p.PublicURL()+token.Path, strings.NewReader(d.form().Encode()))
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

// get calls the read API as the partner does. It calls again while the answer is 401 or
// 403, because the read model may not have applied the partner and its grants yet. After
// demoTimeout it returns that answer.
func (d *tour) get(ctx context.Context, path string) (status int, body []byte, err error) {
	deadline := time.Now().Add(demoTimeout)
	err = retry.Poll(ctx, func() (_ bool, err error) {
		status, body, err = d.getOnce(ctx, path)
		notApplied := status == http.StatusUnauthorized || status == http.StatusForbidden
		return !notApplied || time.Now().After(deadline), err
	})
	return status, body, err
}

// getOnce calls the read API once, with the partner's access token.
func (d *tour) getOnce(ctx context.Context, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base()+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	req.Header.Set("X-Partnerid", demoPartner)
	return do(req)
}

// await calls the read API until the answer has the wanted status and ok returns true for
// its body, and returns the body. After demoTimeout it returns an error.
func (d *tour) await(ctx context.Context, path string, want int, ok func(body []byte) bool) ([]byte, error) {
	deadline := time.Now().Add(demoTimeout)
	var body []byte
	err := retry.Poll(ctx, func() (_ bool, err error) {
		var status int
		status, body, err = d.get(ctx, path)
		done := err == nil && status == want && ok(body)
		if err == nil && !done && time.Now().After(deadline) {
			err = fmt.Errorf("after %s the answer is %d %.200s", demoTimeout, status, body)
		}
		return done, err
	})
	return body, err
}

// do sends a request and returns the answer, whatever its status.
func do(req *http.Request) (status int, body []byte, err error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}
