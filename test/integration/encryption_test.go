package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	applyv1alpha1 "arl.io/arl/pkg/generated/applyconfiguration/arl/v1alpha1"
)

const encryptionFlag = "--encryption-provider-config="

// providers are the ways to encrypt, in order: the first writes, all read.
type providers []apiserverv1.ProviderConfiguration

// inClear is the provider that does not encrypt.
var inClear = apiserverv1.ProviderConfiguration{Identity: &apiserverv1.IdentityConfiguration{}}

// encryptionKey is a key of 32 random bytes, which is allowed for every provider.
func encryptionKey(name string) apiserverv1.Key {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	return apiserverv1.Key{Name: name, Secret: base64.StdEncoding.EncodeToString(secret)}
}

func aesgcm(keys ...apiserverv1.Key) apiserverv1.ProviderConfiguration {
	return apiserverv1.ProviderConfiguration{AESGCM: &apiserverv1.AESConfiguration{Keys: keys}}
}

func aescbc(keys ...apiserverv1.Key) apiserverv1.ProviderConfiguration {
	return apiserverv1.ProviderConfiguration{AESCBC: &apiserverv1.AESConfiguration{Keys: keys}}
}

func secretbox(keys ...apiserverv1.Key) apiserverv1.ProviderConfiguration {
	return apiserverv1.ProviderConfiguration{Secretbox: &apiserverv1.SecretboxConfiguration{Keys: keys}}
}

// encryptionFile is a configuration beside the data directory of a server.
func (s *server) encryptionFile() string { return filepath.Join(s.dir, "encryption.yaml") }

// encrypt writes the configuration that all of arl.io goes through the
// providers, whole at once, as an editor or a mounted secret would.
func (s *server) encrypt(t *testing.T, by ...apiserverv1.ProviderConfiguration) {
	t.Helper()
	config := apiserverv1.EncryptionConfiguration{
		TypeMeta:  metav1.TypeMeta{APIVersion: "apiserver.config.k8s.io/v1", Kind: "EncryptionConfiguration"},
		Resources: []apiserverv1.ResourceConfiguration{{Resources: []string{"*.arl.io"}, Providers: by}},
	}
	content, err := json.Marshal(config) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	fresh := s.encryptionFile() + ".new"
	mustWrite(t, fresh, content)
	if err := os.Rename(fresh, s.encryptionFile()); err != nil {
		t.Fatal(err)
	}
}

// encryptedServer prepares a server whose configuration encrypt writes.
func encryptedServer(t *testing.T, args ...string) *server {
	t.Helper()
	needContainers(t)
	s := ownServer(t)
	s.reconfigure(t, append([]string{encryptionFlag + s.encryptionFile()}, args...)...)
	return s
}

// TestCanariesAreNotOnDisk stores words in every part of objects. Without
// encryption they are found in both files, which shows that the search works.
func TestCanariesAreNotOnDisk(t *testing.T) {
	t.Parallel()
	for name, provider := range map[string]func(...apiserverv1.Key) apiserverv1.ProviderConfiguration{
		"no encryption": nil, "aescbc": aescbc, "aesgcm": aesgcm, "secretbox": secretbox,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := encryptionKey("key-1")
			s := encryptedServer(t)
			var args []string
			if provider != nil {
				args = append(args, encryptionFlag+s.encryptionFile())
				s.encrypt(t, provider(key))
			}
			s.reconfigure(t, append(args, "--storage-retention=200ms")...)
			s.mustStart(t)
			n := tenantIn(t, s, "default")
			canaries := n.storeCanaries()
			marker := n.CreatePool(hostPool("named-in-clear", 0))
			n.awaitCompacted(marker.ResourceVersion)
			// What comes from here on stays in the log.
			s.mustStop(t)
			s.reconfigure(t, args...)
			s.mustStart(t)
			late := hostPool("named-in-the-log", 0)
			late.Labels = map[string]string{"label": lateCanary}
			n.CreatePool(late)
			online, offline := filepath.Join(s.dir, "online.backup"), filepath.Join(s.dir, "offline.backup")
			mustStorage(t, "backup", "--data-dir", s.data, "--output", online)
			s.mustStop(t)
			mustStorage(t, "backup", "--data-dir", s.data, "--offline", "--output", offline)

			log, state := filepath.Join(s.storage(), "log.db"), filepath.Join(s.storage(), "state.db")
			for path, words := range map[string][]string{
				state: canaries, log: {lateCanary}, online: append(canaries, lateCanary), offline: append(canaries, lateCanary),
			} {
				content := mustRead(t, path)
				for _, word := range words {
					if got, want := bytes.Contains(content, []byte(word)), provider == nil; got != want {
						t.Errorf("%s in %s: %t, want %t", word, path, got, want)
					}
				}
				if !bytes.Contains(content, []byte("named-in-")) {
					t.Errorf("names of objects are readable by design, and should be in %s", path)
				}
			}
			if provider != nil {
				s.wantNowhere(t, append(canaries, lateCanary)...)
			}
			s.wantNoKey(t, key)
		})
	}
}

// lateCanary is stored when the other ones are in the state already.
const lateCanary = "canary-that-came-last"

// wantNowhere fails if one of the words is in a file of the database.
func (s *server) wantNowhere(t *testing.T, words ...string) {
	t.Helper()
	for word, files := range s.searchStorage(t, words...) {
		if len(files) > 0 {
			t.Errorf("%s is in %q", word, files)
		}
	}
}

// wantNoKey fails if the key is in the data directory or in the log.
func (s *server) wantNoKey(t *testing.T, key apiserverv1.Key) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key.Secret)
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range map[string][]byte{"the key as it is written": []byte(key.Secret), "the key": raw} {
		for _, path := range search(t, s.data, secret) {
			t.Errorf("%s is in %s", what, path)
		}
		if bytes.Contains(mustRead(t, s.LogFile()), secret) {
			t.Errorf("%s is in the server's log", what)
		}
	}
}

// storeCanaries stores objects with a word of its own in each place, and
// returns the words.
func (n *tenant) storeCanaries() (canaries []string) {
	n.T.Helper()
	word := func(place string) string {
		canaries = append(canaries, "canary-in-"+place)
		return canaries[len(canaries)-1]
	}
	pool := hostPool("pool", 1)
	pool.Labels = map[string]string{"label": word("a-label")}
	pool.Annotations = map[string]string{word("an-annotations-name"): word("an-annotation")}
	n.CreatePool(pool)
	sandbox := sandboxOf("box", pool.Name)
	sandbox.Spec.Env = map[string]string{"SECRET": word("the-env")}
	n.CreateSandbox(sandbox)
	n.AwaitSandbox(sandbox.Name, v1alpha1.SandboxReady)
	// What the step says is put together by it, so that the command does not have it.
	step := shell("say", "echo canary-in-$PLACE; : "+word("a-command"))
	step.Env = map[string]string{"PLACE": "stdout", "SECRET": word("a-steps-env")}
	file := write("file", "file.txt", word("a-file"))
	if got, want := n.Succeed(taskIn(sandbox.Name, "task", step, file)).Status.Stdout, word("stdout")+"\n"; got != want {
		n.T.Errorf("the task said %q, want %q", got, want)
	}
	return canaries
}

// searchStorage returns in which files of the database the words are.
func (s *server) searchStorage(t *testing.T, words ...string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, word := range words {
		found[word] = search(t, s.storage(), []byte(word))
	}
	return found
}

// search returns the regular files below a directory in which there are the bytes.
func search(t *testing.T, dir string, what []byte) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && bytes.Contains(mustRead(t, path), what) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestOldPlaintextIsShrunkAway turns encryption on for what was stored in clear.
// Pages that are no longer used keep it, until the files are written anew.
func TestOldPlaintextIsShrunkAway(t *testing.T) {
	t.Parallel()
	const canary = "canary-from-before-encryption"
	s := encryptedServer(t)
	s.encrypt(t, inClear)
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	pool := hostPool("pool", 0)
	pool.Labels = map[string]string{"canary": canary}
	n.CreatePool(pool)
	s.mustStop(t)

	s.encrypt(t, aesgcm(encryptionKey("key-1")), inClear)
	s.mustStart(t)
	if _, err := n.Pools().Patch(t.Context(), "pool", types.MergePatchType, []byte("{}"), patchNow); err != nil {
		t.Fatal(err)
	}
	s.mustStop(t)
	if found := s.searchStorage(t, canary)[canary]; len(found) == 0 {
		t.Error("nothing is left of the plaintext, so there is nothing to shrink away")
	}
	mustStorage(t, "compact", "--data-dir", s.data)
	s.wantNowhere(t, canary)
	s.mustStart(t)
	if got, err := n.Pools().Get(t.Context(), "pool", getNow); err != nil || got.Labels["canary"] != canary {
		t.Errorf("%v, %v", got, err)
	}
}

// TestKeysAreRotated goes from one way of encryption to another: once every
// object has been written again, the old way is needed no more.
func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	first, second := encryptionKey("key-1"), encryptionKey("key-2")
	for _, tt := range []struct {
		name                  string
		before, while, behind providers
	}{
		{"a new key", providers{aesgcm(first)}, providers{aesgcm(second, first)}, providers{aesgcm(second)}},
		{"another provider", providers{secretbox(first)}, providers{aescbc(second), secretbox(first)}, providers{aescbc(second)}},
		{"from clear", providers{inClear}, providers{aesgcm(first), inClear}, providers{aesgcm(first)}},
		{"to clear", providers{aesgcm(first)}, providers{inClear, aesgcm(first)}, providers{inClear}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := encryptedServer(t)
			s.encrypt(t, tt.before...)
			s.mustStart(t)
			n := tenantIn(t, s, "default")
			// Tasks that have ended are written by nobody else.
			names := []string{"updated", "applied", "patched"}
			for _, name := range names {
				n.CreateTask(taskIn("missing", name, shell("none", "true")))
			}
			before := map[string]*v1alpha1.Task{}
			for _, name := range names {
				before[name] = n.AwaitEnd(name)
			}
			s.mustStop(t)

			s.encrypt(t, tt.while...)
			s.mustStart(t)
			for i, rewrite := range []func(context.Context, *v1alpha1.Task) (*v1alpha1.Task, error){n.updateAsIs, n.applyAsIs, n.patchAsIs} {
				task := before[names[i]]
				if now, err := n.Tasks().Get(t.Context(), task.Name, getNow); err != nil || now.ResourceVersion != task.ResourceVersion {
					t.Fatalf("before %s is written again: %v, %v", task.Name, now, err)
				}
				again, err := rewrite(t.Context(), task)
				if err != nil {
					t.Fatal(err)
				}
				if again.ResourceVersion == task.ResourceVersion {
					t.Errorf("%s: an update that changes nothing has not written the object by the new key", task.Name)
				}
				third, err := rewrite(t.Context(), again)
				if err != nil {
					t.Fatal(err)
				}
				if third.ResourceVersion != again.ResourceVersion {
					t.Errorf("%s: written again though it was by the newest key", task.Name)
				}
			}
			s.mustStop(t)

			s.encrypt(t, tt.behind...)
			s.mustStart(t) // ready: the scheduler has read everything
			for _, name := range names {
				if _, err := n.Tasks().Get(t.Context(), name, getNow); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func (n *tenant) updateAsIs(ctx context.Context, task *v1alpha1.Task) (*v1alpha1.Task, error) {
	return n.Tasks().Update(ctx, task, updateNow)
}

// applyAsIs applies what another manager has set already, and owns nothing by it.
func (n *tenant) applyAsIs(ctx context.Context, task *v1alpha1.Task) (*v1alpha1.Task, error) {
	config := applyv1alpha1.Task(task.Name, task.Namespace)
	return n.Tasks().Apply(ctx, config, metav1.ApplyOptions{FieldManager: "rotation", Force: true})
}

func (n *tenant) patchAsIs(ctx context.Context, task *v1alpha1.Task) (*v1alpha1.Task, error) {
	return n.Tasks().Patch(ctx, task.Name, types.MergePatchType, []byte("{}"), patchNow)
}

// TestBadEncryptionIsRefused starts servers with files that are no good. What
// they say names flag, file and field, and no key.
func TestBadEncryptionIsRefused(t *testing.T) {
	t.Parallel()
	short := apiserverv1.Key{Name: "short", Secret: base64.StdEncoding.EncodeToString([]byte("secret-of-17-char"))}
	for _, tt := range []struct {
		name    string
		content string    // if by is nil
		by      providers // what encrypts
		want    []string  // words beside flag and file
	}{
		{name: "missing", want: []string{"no such file"}},
		{name: "empty", content: " ", want: []string{"error decoding"}},
		{name: "no YAML", content: "{{", want: []string{"error decoding"}},
		{name: "another kind", content: `{"apiVersion":"v1","kind":"Secret"}`, want: []string{"Secret"}},
		{name: "no rule", content: `{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration"}`, want: []string{"resources: Required value"}},
		{name: "unknown provider", want: []string{"unknown field", "resources[0].providers[0].rot13"},
			content: `{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration","resources":[{"resources":["*.arl.io"],"providers":[{"rot13":{}}]}]}`},
		{name: "bad resource", want: []string{"resources[0].resources[0]", "capital"},
			content: `{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration","resources":[{"resources":["Tasks.arl.io"],"providers":[{"identity":{}}]}]}`},
		{name: "no key", by: providers{aesgcm()}, want: []string{"resources[0].providers[0].aesgcm.keys"}},
		{name: "key of a wrong length", by: providers{aescbc(short)}, want: []string{"resources[0].providers[0].aescbc.keys[0].secret", "expected length, got 17"}},
		{name: "secretbox key of a wrong length", by: providers{secretbox(short)}, want: []string{"secretbox.keys[0].secret", "expected one of [32]"}},
		{name: "key that is no base64", by: providers{aesgcm(apiserverv1.Key{Name: "k", Secret: "***"})}, want: []string{"aesgcm.keys[0].secret", "base64"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t)
			switch {
			case tt.by != nil:
				s.encrypt(t, tt.by...)
			case tt.content != "":
				mustWrite(t, s.encryptionFile(), []byte(tt.content))
			}
			said := s.refuse(t, encryptionFlag+s.encryptionFile())
			wantWords(t, said, append(tt.want, "--encryption-provider-config: "+s.encryptionFile())...)
			if bytes.Contains([]byte(said), []byte(short.Secret)) {
				t.Errorf("the key is in the message:\n%s", said)
			}
		})
	}
}
