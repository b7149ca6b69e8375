package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// echoes reports whether the terminal shows what is typed.
func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// readUntil reads from the terminal until text was printed.
func readUntil(t *testing.T, r *bufio.Reader, text string) (all string) {
	t.Helper()
	for !strings.Contains(all, text) {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%v after %q, which lacks %q", err, all, text)
		}
		all += string(b)
	}
	return all
}

func TestCtrlCAtAPromptEndsTheProgramAndRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	for name, inShell := range map[string]bool{"alone": false, "under sh": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := child(t, "command", "pi", "password", "rivera", "--password-file", passwordFile(t), "--data", dir)
			if inShell {
				env := cmd.Env
				cmd = exec.CommandContext(t.Context(), "sh", append([]string{"-c", `"$0" "$@"; exit $?`}, cmd.Args...)...)
				cmd.Env = env
			}
			terminal, tty, err := pty.Open()
			if err != nil {
				t.Skipf("no pseudo-terminal: %v", err)
			}
			defer terminal.Close()
			defer tty.Close()
			cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
			cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(patience, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }).Stop() // then the steps below end, and fail
			out := bufio.NewReader(terminal)
			if asked := readUntil(t, out, "New password of rivera: "); !strings.Contains(asked, "at least 12 characters") {
				t.Errorf("the rule is not said before the password is typed: %q", asked)
			}
			eventually(t, "the prompt to hide what is typed", func() error {
				if echoes(t, tty) {
					return errors.New("the terminal shows it")
				}
				return nil
			})
			if _, err := io.WriteString(terminal, "secret\x03"); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the program ended with status 0")
			}
			if !echoes(t, tty) {
				t.Error("the terminal does not show what is typed any more")
			}
		})
	}
}
