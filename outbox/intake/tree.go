package intake

import (
	"strconv"
	"strings"
)

// kind is what a JSON value is.
type kind byte

const (
	object kind = iota
	array
	text
	number
	boolean
	null
)

func (k kind) String() string {
	return [...]string{"an object", "an array", "a string", "a number", "true or false", "null"}[k]
}

// node is a JSON value with the line it starts at.
type node struct {
	kind  kind
	line  int
	name  string // in an object
	text  string // of a string, unescaped; of a number or boolean, as written
	from  int    // where it starts in the text that was parsed
	to    int    // where it ends
	items []node // members of an object, elements of an array
}

// member gives the member of an object by name.
func (n node) member(name string) (node, bool) {
	if n.kind == object {
		for _, m := range n.items {
			if m.name == name {
				return m, true
			}
		}
	}
	return node{}, false
}

// lineOf gives the line of the value at a path such as lesions[2].state, or
// of the innermost value around it where there is none. A path may begin with
// the type of a FHIR resource.
func (n node) lineOf(path string) int {
	if kind, ok := n.member("resourceType"); ok {
		path = strings.TrimPrefix(strings.TrimPrefix(path, kind.text), ".")
	}
	line := n.line
	for _, segment := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' }) {
		next, ok := n.step(segment)
		if !ok {
			break
		}
		n, line = next, next.line
	}
	return line
}

// step goes to a member, or by "2]" to an element.
func (n node) step(segment string) (node, bool) {
	digits, index := strings.CutSuffix(segment, "]")
	if !index {
		return n.member(segment)
	}
	i, err := strconv.Atoi(digits)
	if err != nil || n.kind != array || i < 0 || i >= len(n.items) {
		return node{}, false
	}
	return n.items[i], true
}
