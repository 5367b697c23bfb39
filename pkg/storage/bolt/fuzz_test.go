package bolt

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

// FuzzContinue lists one namespace with any continue token, made up or changed
// by a client. The list must stay within the namespace, and a token that
// is refused must be so as the client's mistake. "make test" runs the seeds;
// to look further:
//
//	go test -tags=netgo,osusergo -fuzz=FuzzContinue -fuzztime=10m ./pkg/storage/bolt
func FuzzContinue(f *testing.F) {
	fix := newFixture(f)
	for _, name := range []string{"a", "b", "c", "d"} {
		for _, namespace := range []string{"ns0", "ns1", "ns10", "ns2"} {
			fix.mustCreate(f, namespace, name)
		}
	}
	for _, foreign := range []string{"/pods", "/podsx/ns1/a", "/pods/ns1", "/secrets/ns1/a"} {
		if _, err := fix.db.Apply(f.Context(), kv.Op{Key: foreign, Value: []byte("secret")}); err != nil {
			f.Fatal(err)
		}
	}
	if err := fix.db.Compact(f.Context(), 3); err != nil {
		f.Fatal(err)
	}
	const v1 = "meta.k8s.io/v1"
	for _, start := range []string{"a\x00", "", "/", "b", "zz", "../ns2/a", "/../ns0/", "../../secrets", "a/../../ns2", "\xff", "./a"} {
		f.Add(v1, int64(9), start, "", int64(2))
	}
	for _, rev := range []int64{-1, 0, 1, 3, 1 << 62, -1 << 63} {
		f.Add(v1, rev, "a", "", int64(0))
	}
	f.Add("v2", int64(9), "a", "", int64(-1))
	for _, raw := range []string{"x", "bnVsbA", "e30", "W10", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0", "////", "=="} {
		f.Add("", int64(0), "", raw, int64(1))
	}
	f.Fuzz(func(t *testing.T, version string, rev int64, start, raw string, limit int64) {
		token := raw
		if raw == "" {
			token = encodeToken(t, version, rev, start)
		}
		list := &example.PodList{}
		err := fix.GetList(t.Context(), "/pods/ns1", storage.ListOptions{
			Recursive: true,
			Predicate: storage.SelectionPredicate{
				Label: storage.Everything.Label, Field: storage.Everything.Field, GetAttrs: storage.Everything.GetAttrs,
				Limit: limit, Continue: token,
			},
		}, list)
		if err != nil {
			wantClientsMistake(t, err)
			return
		}
		checkPage(t, list, limit)
	})
}

// encodeToken makes a continue token of any content.
func encodeToken(t *testing.T, version string, rev int64, start string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"v": version, "rv": rev, "start": start})
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func wantClientsMistake(t *testing.T, err error) {
	t.Helper()
	var status apierrors.APIStatus
	switch {
	case !errors.As(err, &status):
		t.Errorf("error %v has no status", err)
	case apierrors.IsBadRequest(err), apierrors.IsResourceExpired(err), storage.IsTooLargeResourceVersion(err):
	default:
		t.Errorf("error %v is none that a token can cause", err)
	}
}

// checkPage checks that a page lies in the namespace, in order, and that so
// does the page that its own token begins.
func checkPage(t *testing.T, list *example.PodList, limit int64) {
	t.Helper()
	last := ""
	for _, pod := range list.Items {
		if pod.Namespace != "ns1" || pod.Name <= last {
			t.Errorf("%s/%s follows %q in a list of ns1", pod.Namespace, pod.Name, last)
		}
		last = pod.Name
	}
	if limit > 0 && int64(len(list.Items)) > limit {
		t.Errorf("%d items, asked for %d", len(list.Items), limit)
	}
	if list.Continue == "" {
		return
	}
	if from, _, err := storage.DecodeContinue(list.Continue, "/pods/ns1/"); err != nil || !strings.HasPrefix(from, "/pods/ns1/") {
		t.Errorf("the list goes on at %q, %v", from, err)
	}
}
