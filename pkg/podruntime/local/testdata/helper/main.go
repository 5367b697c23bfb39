// Command helper is what runs in images of tests, which have nothing else.
package main

import (
	"fmt"
	"os"
	"syscall"
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
	case "list":
		entries, err := os.ReadDir(args[1])
		for _, entry := range entries {
			fmt.Println(entry.Name())
		}
		return err
	}
	return fmt.Errorf("helper does not know %q", args[0])
}
