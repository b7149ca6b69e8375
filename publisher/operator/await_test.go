package operator

import (
	"context"
	"testing"
	"time"
)

// On a busy machine the time for answers may have passed before the process looks at them. A
// server whose answer is there is not silent.
func TestAnswersThatAreThereAreTakenAlthoughTheTimeHasPassed(t *testing.T) {
	const answered = 3
	a := &Accounts{cfg: Config{Timeout: time.Nanosecond}}
	nobody := func(string) bool { return false }
	for range 100 {
		answers := make(chan answer, mostReplies)
		for range answered {
			answers <- answer{}
		}
		taken := 0
		take := func(answer) (bool, error) {
			taken++
			return taken == answered, nil
		}
		if all, err := a.await(context.Background(), &replies{}, answers, nobody, take); !all || err != nil || taken != answered {
			t.Fatalf("took %d answers: %t, %v", taken, all, err)
		}
		if all, err := a.await(context.Background(), &replies{}, answers, nobody, take); all || err != nil {
			t.Fatalf("without an answer: %t, %v", all, err)
		}
	}
}
