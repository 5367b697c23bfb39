package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "arl.io/arl"

// root is the checkout, seen from this package.
const root = "../.."

// source is one hand-written Go file of the root module.
type source struct {
	path string // relative to the checkout, with slashes
	dir  string // the package's folder, relative to the checkout
	test bool
	file *ast.File
	fset *token.FileSet
}

// sources parses every hand-written Go file below a folder. Nested modules and generated files are left out.
func sources(t *testing.T, top string) []source {
	t.Helper()
	var found []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(top, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			return skipDir(name, rel)
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasPrefix(path.Base(rel), "zz_generated") {
			return nil
		}
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		found = append(found, source{
			path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), file: file, fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if top == root && len(found) < 10 {
		t.Fatalf("only %d files found: the walk is broken", len(found))
	}
	return found
}

func skipDir(name, rel string) error {
	if rel == "." {
		return nil
	}
	base := path.Base(rel)
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" || rel == "pkg/generated" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

// imports returns the import paths of a file.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}
