package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// passwordFlag says where a password comes from. It is never an argument or a
// variable: those are seen by others.
type passwordFlag struct {
	PasswordFile string `help:"File whose first line is the password; - for standard input. Asked for when absent." placeholder:"F"`
}

const maxPasswordFile = 4096

// read returns the password; who is asked for is named in the prompt. A new
// password is asked for twice.
func (p passwordFlag) read(t terminal, who string, isNew bool) (string, error) {
	switch {
	case p.PasswordFile == "-":
		return firstLine(t.in)
	case p.PasswordFile != "":
		f, err := os.Open(p.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		return firstLine(f)
	}
	in, ok := t.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usageError("no terminal to ask for a password on: use --password-file")
	}
	password, err := prompt(t, in, "Password of "+who+": ")
	if err != nil || !isNew {
		return password, err
	}
	again, err := prompt(t, in, "The same again: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ; nothing was changed")
	}
	return password, err
}

func prompt(t terminal, in *os.File, text string) (string, error) {
	fmt.Fprint(t.err, text)
	password, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(t.err)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(password), nil
}

func firstLine(r io.Reader) (string, error) {
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
