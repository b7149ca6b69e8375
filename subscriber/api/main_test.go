package api_test

import (
	"testing"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
