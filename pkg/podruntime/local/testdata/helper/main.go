// Command helper is what runs in images of tests, which have nothing else.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"arl.io/arl/test/harness/intruder"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch args[0] {
	case "whoami":
		dir, err := os.Getwd()
		fmt.Println(os.Getuid(), os.Getgid(), dir, os.Getenv("HOME"), os.Getenv("FROM_IMAGE"), os.Getenv("BOTH"))
		return err
	case "cat":
		text, err := os.ReadFile(args[1])
		fmt.Printf("%s", text)
		return err
	case "write":
		return os.WriteFile(args[1], []byte(args[2]), 0o644)
	case "owner":
		var stat syscall.Stat_t
		err := syscall.Lstat(args[1], &stat)
		fmt.Printf("%d:%d %o\n", stat.Uid, stat.Gid, stat.Mode&0o7777)
		return err
	case "intrude":
		return intrude()
	case "usable":
		return usable()
	case "take", "hoard":
		limit, err := strconv.Atoi(args[2])
		return errors.Join(err, take(args[1], limit, args[0] == "hoard"))
	case "wait":
		time.Sleep(time.Hour)
		return nil
	case "list":
		entries, err := os.ReadDir(args[1])
		for _, entry := range entries {
			fmt.Println(entry.Name())
		}
		return err
	}
	return fmt.Errorf("helper does not know %q", args[0])
}

// usable prints who owns the current directory and which HOME there is, and writes in both.
func usable() error {
	var stat syscall.Stat_t
	err := syscall.Stat(".", &stat)
	home := os.Getenv("HOME")
	fmt.Printf("user %d, work %d:%d, home %s\n", os.Getuid(), stat.Uid, stat.Gid, home)
	return errors.Join(err, os.WriteFile("made", nil, 0o644), os.WriteFile(filepath.Join(home, "made"), nil, 0o644))
}

// intrude prints the ways by which this process could take over the agent, and whether it could stop it.
func intrude() error {
	stops, err := intruder.Stop(1)
	fmt.Printf("open: [%s], stops: %t\n", strings.Join(intruder.TakeOver(1), ", "), stops)
	// Process 1 of a namespace cannot be killed from within.
	return errors.Join(err, syscall.Kill(1, syscall.SIGKILL))
}
