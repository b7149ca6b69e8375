package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder records the order in which components stop.
type recorder struct {
	mu      sync.Mutex
	stopped []string
}

func (r *recorder) component(name string, up *sync.WaitGroup) component {
	up.Add(1)
	return component{name, func(ctx context.Context) error {
		up.Done()
		<-ctx.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stopped = append(r.stopped, name)
		return nil
	}}
}

func TestComponentsStopInReverseOrder(t *testing.T) {
	var r recorder
	var up sync.WaitGroup
	components := []component{r.component("first", &up), r.component("second", &up), r.component("third", &up)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- runAll(ctx, slog.New(slog.DiscardHandler), components) }()
	up.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := []string{"third", "second", "first"}; !slices.Equal(r.stopped, want) {
		t.Errorf("stopped in the order %v, want %v", r.stopped, want)
	}
}

func TestOneComponentsEndEndsAll(t *testing.T) {
	for name, cause := range map[string]error{"with an error": errors.New("disk gone"), "without a word": nil} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			var up sync.WaitGroup
			other := r.component("other", &up)
			err := runAll(t.Context(), slog.New(slog.DiscardHandler), []component{other, {"failing", func(context.Context) error {
				up.Wait()
				return cause
			}}})
			if err == nil || !strings.Contains(err.Error(), "failing") || cause != nil && !errors.Is(err, cause) {
				t.Errorf("got %v, want the failing component named", err)
			}
			if !slices.Equal(r.stopped, []string{"other"}) {
				t.Errorf("the other component was not stopped: %v", r.stopped)
			}
		})
	}
}
