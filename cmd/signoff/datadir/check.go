package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Resolve returns the data directory at path, with symbolic links resolved, after it has
// checked that only the user of this process, and root, can change it. Its databases, its
// lock and its keys must be files and directories of its own, not symbolic links, and are
// checked too. Nobody else can replace any of them after the check, because that needs
// a writable directory. With allowGroup the group may write. A directory that does not
// exist is no error, because Create makes it for its owner only.
func Resolve(path string, allowGroup bool) (Dir, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Dir(path), nil
	}
	if err != nil {
		return "", fmt.Errorf("resolve the data directory: %w", err)
	}
	dir := Dir(path)
	if resolved != filepath.Clean(path) {
		dir = Dir(resolved)
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return "", fmt.Errorf("check the data directory: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory; name another one with --data", dir)
	}
	if err := checkOwner(string(dir), info, allowGroup); err != nil {
		return "", err
	}
	for _, name := range dir.own() {
		if err := checkTree(name, allowGroup); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// own returns the paths that must not be symbolic links.
func (d Dir) own() []string {
	paths := []string{d.lockFile(), d.Keys(), d.ServeFile(), d.OperatorCreds()}
	for _, db := range []string{d.Outbox(), d.ReadModel()} {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			paths = append(paths, db+suffix)
		}
	}
	return paths
}

// checkTree checks a file, or a directory and all that is below it. What does not exist
// is no error.
func checkTree(root string, allowGroup bool) error {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a symbolic link; put what it points to in its place, or name another directory with --data", path)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return checkOwner(path, info, allowGroup)
	})
	if errors.Is(err, fs.ErrNotExist) { // there is none, or another process has just removed it
		return nil
	}
	return err
}

// checkOwner returns an error unless a file or directory belongs to the user of this
// process or to root, and nobody else may write it.
func checkOwner(path string, info fs.FileInfo, allowGroup bool) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: the system does not report the owner", path)
	}
	if owner := int(stat.Uid); owner != os.Geteuid() && owner != 0 {
		return fmt.Errorf("%s belongs to %s; run signoff as that user, or make it yours with chown", path, userName(owner))
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o002 != 0:
		return fmt.Errorf("every user can write %s; run chmod o-w on it", path)
	case mode&0o020 != 0 && !allowGroup:
		return fmt.Errorf("the group can write %s; run chmod g-w on it, or set --allow-group if each member of the group may administer signoff", path)
	}
	return nil
}

// userName returns the name of a user for a message.
func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return "user " + u.Username
	}
	return "user " + strconv.Itoa(id)
}
