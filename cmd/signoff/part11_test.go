package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// clauses are those of 21 CFR Part 11 that outbox/PART11.md has to deal with, in order.
var clauses = []string{
	"11.10(a)", "11.10(b)", "11.10(c)", "11.10(d)", "11.10(e)", "11.10(f)", "11.10(g)", "11.10(h)", "11.10(i)", "11.10(j)", "11.10(k)",
	"11.30", "11.50", "11.70", "11.100(a)", "11.100(b)", "11.100(c)",
	"11.200(a)(1)", "11.200(a)(2)", "11.200(a)(3)", "11.200(b)", "11.300(a)", "11.300(b)", "11.300(c)", "11.300(d)", "11.300(e)",
}

// namedTest is a test as the table names it: package and function.
var namedTest = regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9]+)`")

func TestPart11NamesTestsThatExist(t *testing.T) {
	t.Parallel()
	root := moduleRoot(t)
	text, err := os.ReadFile(filepath.Join(root, "outbox", "PART11.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if !strings.HasPrefix(line, "| 11.") {
			continue
		}
		if len(cells) != 6 {
			t.Errorf("the row has %d cells: %s", len(cells)-2, line)
			continue
		}
		clause, _, _ := strings.Cut(strings.TrimSpace(cells[1]), " ")
		found = append(found, clause)
		met, tests, left := strings.TrimSpace(cells[2]), namedTest.FindAllStringSubmatch(cells[3], -1), strings.TrimSpace(cells[4])
		if met == "" && left == "" {
			t.Errorf("%s: neither met nor left to the organisation", clause)
		}
		if met != "" && !strings.HasPrefix(met, "Not used") && len(tests) == 0 {
			t.Errorf("%s: what the program does is not tested", clause)
		}
		if rest := strings.TrimSpace(namedTest.ReplaceAllString(cells[3], "")); rest != "" {
			t.Errorf("%s: %q is not the name of a test", clause, rest)
		}
		for _, test := range tests {
			if !hasTest(t, filepath.Join(root, filepath.FromSlash(test[1])), test[2]) {
				t.Errorf("%s: package %s has no %s", clause, test[1], test[2])
			}
		}
	}
	if !slices.Equal(found, clauses) {
		t.Errorf("the clauses are %v, want %v", found, clauses)
	}
}

// hasTest reports whether a package has a test function with the name.
func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text), "\nfunc "+name+"(t *testing.T) {")
	})
}
