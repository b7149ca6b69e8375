package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Without a container engine this can be tested: the program reads every variable that the
// files for containers set.
func TestContainersSetVariablesThatTheProgramKnows(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&cli{}, kong.Name("signoff"), kong.DefaultEnvars("SIGNOFF"), helpVariables())
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	_ = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && !flag.Hidden {
			for _, name := range flag.Envs {
				known[name] = true
			}
		}
		return next(nil)
	})
	variable := regexp.MustCompile(`\bSIGNOFF_[A-Z_]+`)
	for _, name := range []string{"docker-compose.yml", "cmd/signoff/Dockerfile"} {
		content, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		found := variable.FindAllString(string(content), -1)
		if len(found) == 0 {
			t.Errorf("%s sets nothing", name)
		}
		for _, v := range found {
			if !known[v] {
				t.Errorf("%s sets %s, of which no command knows", name, v)
			}
		}
	}
}

// What the program's packages embed and import must get into the image.
func TestTheImageIsBuiltFromAllPackages(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum", "cmd", "events", "fhir", "outbox", "publisher", "subscriber"} {
		if !strings.Contains(string(content), "\n!"+name+"\n") {
			t.Errorf("%s is left out", name)
		}
	}
}
