package operator_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

var partners = flag.Int("partners", 100, "number of partners in the benchmark of pushes")

// BenchmarkAccounts pushes the accounts of all partners, compares them, and changes one.
func BenchmarkAccounts(b *testing.B) {
	for _, size := range []int{1, 3} {
		b.Run(fmt.Sprint(size, " servers"), func(b *testing.B) {
			in := newInstallation(b, size, true)
			accounts := make([]tenancy.Account, *partners)
			for i := range accounts {
				accounts[i] = accountOf(fmt.Sprint("partner", i), "A", "B", "C")
			}
			a := in.accounts()
			measure := func(what string, do func() error) {
				b.Helper()
				started := time.Now()
				if err := do(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(time.Since(started).Microseconds())/1000, what+"-ms")
			}
			for b.Loop() {
				measure("push", func() error { return a.Compare(b.Context(), all(accounts...)) })
				measure("compare", func() error { return a.Compare(b.Context(), all(accounts...)) })
				measure("change", func() error { return a.SetAccount(b.Context(), accountOf("partner0", "A")) })
				measure("back", func() error { return a.SetAccount(b.Context(), accountOf("partner0", "A", "B", "C")) })
			}
		})
	}
}
