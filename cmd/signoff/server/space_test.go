package server

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFullDiskIsNoticedBeforeASignOffFails(t *testing.T) {
	dir := t.TempDir()
	if err := needSpace(dir, 0); err != nil {
		t.Error(err)
	}
	if err := needSpace(dir, math.MaxUint64); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("the error is %v", err)
	}
	if err := needSpace(filepath.Join(dir, "missing"), 0); err == nil {
		t.Error("a directory that does not exist has space")
	}
}
