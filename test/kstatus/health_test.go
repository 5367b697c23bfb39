package kstatus

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// argo are Argo CD's words for those of kstatus.
var argo = map[status.Status]string{
	status.CurrentStatus: "Healthy", status.InProgressStatus: "Progressing",
	status.TerminatingStatus: "Progressing", status.FailedStatus: "Degraded",
}

var argoScript = filepath.Join("..", "..", "artifacts", "health", "argocd.lua")

// wantHealth runs Argo CD's health check of our kinds on an object as Argo CD runs it: the object is
// the global variable obj, and the script returns a table.
func wantHealth(t *testing.T, what string, u *unstructured.Unstructured, want status.Status) {
	t.Helper()
	state := lua.NewState()
	defer state.Close()
	encoded, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	var object any
	if err := json.Unmarshal(encoded, &object); err != nil {
		t.Fatal(err)
	}
	state.SetGlobal("obj", luaOf(state, object))
	if err := state.DoFile(argoScript); err != nil {
		t.Fatal(err)
	}
	health, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("%s: the script returned %v", what, state.Get(-1))
	}
	if got := health.RawGetString("status").String(); got != argo[want] {
		t.Errorf("%s: %s: %s; want %s", what, got, health.RawGetString("message"), argo[want])
	}
}

func luaOf(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, each := range value {
			table.RawSetString(key, luaOf(state, each))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, each := range value {
			table.Append(luaOf(state, each))
		}
		return table
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	default:
		return lua.LNil
	}
}

// TestTheDocumentedHealthCheckIsTheShippedOne keeps the page for users and the file the same.
func TestTheDocumentedHealthCheckIsTheShippedOne(t *testing.T) {
	script, err := os.ReadFile(argoScript)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "health.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```lua\n"+string(script)+"```\n") {
		t.Error("docs/health.md does not show artifacts/health/argocd.lua as it is")
	}
}
