package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// natsServerModule is the module of the embedded NATS server.
const natsServerModule = "github.com/nats-io/nats-server/v2"

// buildInfo returns what the build recorded in the program; nothing if it recorded nothing.
func buildInfo() *debug.BuildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return new(debug.BuildInfo)
	}
	return info
}

// versionText returns what --version prints: one line each for the module's
// version, the commit it was built from, Go and the embedded NATS server. What
// the build did not record is "unknown".
func versionText(info *debug.BuildInfo) string {
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := cmp.Or(settings["vcs.revision"], "unknown")
	if settings["vcs.modified"] == "true" {
		commit += " (modified)"
	}
	natsServer := "unknown"
	if i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == natsServerModule }); i >= 0 {
		natsServer = info.Deps[i].Version
		if replacement := info.Deps[i].Replace; replacement != nil {
			natsServer = strings.TrimSpace(replacement.Path + " " + replacement.Version)
		}
	}
	return fmt.Sprintf("signoff      %s\ncommit       %s\nGo           %s\nnats-server  %s",
		cmp.Or(info.Main.Version, "unknown"), commit, info.GoVersion, natsServer)
}
