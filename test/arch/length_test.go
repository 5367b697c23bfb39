package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"testing"
)

const (
	maxFileLines     = 500
	maxFunctionLines = 80
)

func TestFileLength(t *testing.T) { report(t, tooLongFiles(sources(t, root))) }

func TestFunctionLength(t *testing.T) { report(t, tooLongFunctions(sources(t, root))) }

func TestEveryPackageSaysWhatItIsFor(t *testing.T) { report(t, undocumentedPackages(sources(t, root))) }

func report(t *testing.T, faults []string) {
	t.Helper()
	for _, fault := range faults {
		t.Error(fault)
	}
}

func tooLongFiles(all []source) []string {
	var faults []string
	for _, s := range all {
		if lines := s.fset.File(s.file.Pos()).LineCount(); lines > maxFileLines {
			faults = append(faults, fmt.Sprintf("%s has %d lines, at most %d: give a part of it a file of its own", s.path, lines, maxFileLines))
		}
	}
	return faults
}

func tooLongFunctions(all []source) []string {
	var faults []string
	for _, s := range all {
		line := func(pos token.Pos) int { return s.fset.Position(pos).Line }
		for _, decl := range s.file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			if lines := line(function.End()) - line(function.Pos()) + 1; lines > maxFunctionLines {
				faults = append(faults, fmt.Sprintf("%s: %s has %d lines, at most %d", s.path, function.Name.Name, lines, maxFunctionLines))
			}
		}
	}
	return faults
}

func undocumentedPackages(all []source) []string {
	documented := map[string]bool{}
	for _, s := range all {
		if s.test {
			continue
		}
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
	}
	var faults []string
	for dir, ok := range documented {
		if !ok {
			faults = append(faults, dir+" has no package comment")
		}
	}
	return faults
}
