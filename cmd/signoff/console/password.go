package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// PasswordFlag names the source of a password. A password is never an argument or
// an environment variable, because other users can see those.
type PasswordFlag struct {
	PasswordFile string `env:"-" help:"File whose first line is the password; - for standard input. Asked for when absent." placeholder:"F"`
}

const maxPasswordFile = 4096

// Read returns the password of the user, from the file or asked for.
func (p PasswordFlag) Read(ctx context.Context, t Terminal, user string) (string, error) {
	if p.PasswordFile != "" {
		return p.fromFile(t)
	}
	return prompt(ctx, t, "Password of "+user+": ")
}

// ReadNew returns a new password for the user, from the file or asked for twice. Before
// it asks, it prints the rules for passwords; least is the smallest number of characters.
// It does not check the password by these rules.
func (p PasswordFlag) ReadNew(ctx context.Context, t Terminal, user string, least int) (string, error) {
	if p.PasswordFile != "" {
		return p.fromFile(t)
	}
	fmt.Fprintf(t.Err, "A password has at least %d characters. It must not be made from the user name, be a\n"+
		"repetition, a sequence or a common word with digits, or one of the last five.\n", least)
	password, err := prompt(ctx, t, "New password of "+user+": ")
	if err != nil {
		return "", err
	}
	again, err := prompt(ctx, t, "New password of "+user+" again: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ; nothing was changed")
	}
	return password, err
}

// fromFile returns the first line of the file, or of standard input if its name is "-".
func (p PasswordFlag) fromFile(t Terminal) (string, error) {
	if p.PasswordFile == "-" {
		return FirstLine(t.In)
	}
	f, err := os.Open(p.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	return FirstLine(f)
}

// Check returns a UsageError if a password is to be asked for and there is nobody
// to ask.
func (p PasswordFlag) Check(t Terminal) error {
	if p.PasswordFile != "" {
		return nil
	}
	_, err := descriptor(t)
	return err
}

// descriptor returns the file descriptor of standard input, or a UsageError if that is
// not a terminal.
func descriptor(t Terminal) (int, error) {
	in, ok := t.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return 0, UsageError("no terminal to ask for a password on: use --password-file")
	}
	return int(in.Fd()), nil
}

// prompt prints text and reads a line, which the terminal does not show. When ctx ends, as
// by Ctrl-C, it restores the terminal and returns an error. The read goes on in the
// background until the program ends, because a read from a terminal cannot be interrupted.
func prompt(ctx context.Context, t Terminal, text string) (string, error) {
	fd, err := descriptor(t)
	if err != nil {
		return "", err
	}
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	fmt.Fprint(t.Err, text)
	type answer struct {
		password []byte
		err      error
	}
	answered := make(chan answer, 1)
	go func() {
		password, err := term.ReadPassword(fd)
		answered <- answer{password, err}
	}()
	var a answer
	select {
	case a = <-answered:
	case <-ctx.Done():
		a.err = errors.Join(errors.New("interrupted; nothing was changed"), term.Restore(fd, before))
	}
	fmt.Fprintln(t.Err)
	if a.err != nil {
		return "", fmt.Errorf("read the password: %w", a.err)
	}
	return string(a.password), nil
}

// FirstLine returns the first line of r, which must not be empty. It reads at most
// maxPasswordFile bytes.
func FirstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxPasswordFile)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("the password file is empty")
	}
	return line, nil
}
