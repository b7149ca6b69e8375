package console

import (
	"bufio"
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
	PasswordFile string `help:"File whose first line is the password; - for standard input. Without it the password is asked for." placeholder:"F"`
}

const maxPasswordFile = 4096

// Read returns the password of the user who, which the prompt names. A new password
// is asked for twice.
func (p PasswordFlag) Read(t Terminal, who string, isNew bool) (string, error) {
	switch {
	case p.PasswordFile == "-":
		return FirstLine(t.In)
	case p.PasswordFile != "":
		f, err := os.Open(p.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		return FirstLine(f)
	}
	in, ok := t.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", UsageError("there is no terminal to ask for the password; use --password-file")
	}
	password, err := prompt(t, in, "Password of "+who+": ")
	if err != nil || !isNew {
		return password, err
	}
	again, err := prompt(t, in, "Repeat the password: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ; nothing was changed")
	}
	return password, err
}

func prompt(t Terminal, in *os.File, text string) (string, error) {
	fmt.Fprint(t.Err, text)
	password, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(t.Err)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(password), nil
}

// FirstLine returns the first line of r, without its line end. An empty line is an
// error.
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
