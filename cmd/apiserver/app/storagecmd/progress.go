package storagecmd

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"arl.io/arl/pkg/storage/kv"
)

// progress shows how far a backup is: on a terminal in one line that changes,
// else, if asked for, in a line for each tenth.
type progress struct {
	out      io.Writer
	terminal bool
	asked    bool
	verb     string
	// shown is the last percentage shown.
	shown int64
}

func newProgress(out io.Writer, verb string, asked bool) *progress {
	file, ok := out.(*os.File)
	return &progress{out: out, terminal: ok && term.IsTerminal(int(file.Fd())), asked: asked, verb: verb, shown: -1}
}

// report is what package kv calls.
func (p *progress) report(now kv.BackupProgress) {
	if !p.terminal && !p.asked {
		return
	}
	percent := int64(100)
	if now.TotalBytes > 0 {
		percent = now.Bytes * 100 / now.TotalBytes
	}
	if !p.terminal {
		percent -= percent % 10
	}
	if percent == p.shown {
		return
	}
	p.shown = percent
	line := fmt.Sprintf("%s: %d%%, %d of %d objects, %s of %s", p.verb, percent,
		now.Keys, now.TotalKeys, humanBytes(now.Bytes), humanBytes(now.TotalBytes))
	if p.terminal {
		fmt.Fprintf(p.out, "\r%s\033[K", line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// end makes room for what is printed next.
func (p *progress) end() {
	if p.terminal && p.shown >= 0 {
		fmt.Fprint(p.out, "\r\033[K")
	}
}
