package arch

import (
	"go/ast"
	"go/token"
	"testing"
)

const (
	maxFileLines     = 500
	maxFunctionLines = 80
)

func TestFileLength(t *testing.T) {
	for _, s := range sources(t) {
		if lines := s.fset.File(s.file.Pos()).LineCount(); lines > maxFileLines {
			t.Errorf("%s has %d lines, at most %d: give a part of it a file of its own", s.path, lines, maxFileLines)
		}
	}
}

func TestFunctionLength(t *testing.T) {
	for _, s := range sources(t) {
		line := func(pos token.Pos) int { return s.fset.Position(pos).Line }
		for _, decl := range s.file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			if lines := line(function.End()) - line(function.Pos()) + 1; lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, at most %d", s.path, function.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}
