package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

const tableHead = `| objects | in | open database ms | process start → ready ms | CPU ms of it | heap of the database, KB an object | server's heap MB | server's private memory MB |
|---:|---|---:|---:|---:|---:|---:|---:|
`

func (r result) line() string {
	return fmt.Sprintf("| %d | %s | %s | %s | %s | %.2f | %s | %s |\n", r.objects, r.where, millis(r.open), millis(r.ready), millis(r.server.cpu),
		r.perObject/1024, megabytes(r.server.heap), megabytes(r.server.private))
}

func writeTable(name string, results []result) error {
	var text strings.Builder
	text.WriteString(tableHead)
	for _, r := range results {
		text.WriteString(r.line())
	}
	if err := os.WriteFile(name, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

func millis(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", float64(d.Microseconds())/1000)
}

func megabytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", float64(n)/(1<<20))
}
