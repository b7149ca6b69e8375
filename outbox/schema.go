package outbox

import (
	"embed"
	"io/fs"
)

//go:embed schema/*.sql
var schema embed.FS

func schemaFiles() (fs.FS, error) { return fs.Sub(schema, "schema") }
