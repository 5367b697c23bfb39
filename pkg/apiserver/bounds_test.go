package apiserver

import (
	"strings"
	"testing"

	"arl.io/arl/pkg/apis/arl/validation"
)

// TestItemsOfJSONAreCounted compares what is counted with what is in strings, nested, or no JSON.
func TestItemsOfJSONAreCounted(t *testing.T) {
	items := func(count int, item string) string { return strings.Repeat(item+",", count-1) + item }
	most, tooMany := validation.MaxItems, validation.MaxItems+1
	for _, tt := range []struct{ name, json, want string }{
		{"as many as are allowed", `{"a":[` + items(most, "{}") + `]}`, ""},
		{"an array", `{"a":[` + items(tooMany, "{}") + `]}`, "a: Too many"},
		{"an object", `{"a":{"b":{` + items(tooMany, `"k":0`) + `}}}`, "a.b: Too many"},
		{"an array in an array", `[[0],[` + items(tooMany, "0") + `]]`, "1: Too many"},
		{"the outermost", `{` + items(tooMany, `"k":{"a":[1,2]}`) + `}`, "Too many"},
		{"commas in a string", `{"a":"` + items(tooMany, "x") + `"}`, ""},
		{"commas after a quote in a string", `{"a":"\"` + items(tooMany, `[\\`) + `"}`, ""},
		{"many small ones", `{"a":[` + items(most, `[`+items(most/8, "0")+`]`) + `]}`, ""},
		{"after one that ended", `[[` + items(most, "0") + `],[` + items(most, "0") + `]]`, ""},
		{"brackets that do not match", `]]}}{"a":1`, ""},
		{"a string without end", `{"a":"` + items(tooMany, `\"`), ""},
		{"nothing", ``, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkJSON([]byte(tt.json), "")
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
