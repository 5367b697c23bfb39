package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"arl.io/arl/pkg/apis/arl/validation"
)

// The managed fields of an object are worked out before anything validates it, and in a time that
// grows with the square of the number of keys of a map, or items of a list, and that no timeout ends.
// So those numbers are bounded as soon as an object is decoded (boundedSerializer), and for patches,
// which are not decoded as objects, before that (withBoundedPatches).

// boundedSerializer decodes only objects whose maps and lists are within validation.MaxItems.
type boundedSerializer struct{ runtime.NegotiatedSerializer }

// DecoderToVersion returns a decoder whose errors about bounds name the field.
func (s boundedSerializer) DecoderToVersion(serializer runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return boundedDecoder{s.NegotiatedSerializer.DecoderToVersion(serializer, gv)}
}

type boundedDecoder struct{ runtime.Decoder }

// Decode refuses objects beyond the bounds, JSON before it is decoded: "{}," may take a kilobyte then.
func (d boundedDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		if err := checkJSON(data, ""); err != nil {
			return nil, defaults, err
		}
	}
	obj, gvk, err := d.Decoder.Decode(data, defaults, into)
	if err != nil && !runtime.IsStrictDecodingError(err) {
		return obj, gvk, err
	}
	if tooMany := checkItems(reflect.ValueOf(obj), nil); tooMany != nil {
		return nil, gvk, tooMany
	}
	return obj, gvk, err
}

var (
	typeMeta     = reflect.TypeFor[metav1.ObjectMeta]()
	typeFieldsV1 = reflect.TypeFor[metav1.FieldsV1]()
)

// checkItems returns an error for the first map or list in v of too many items, also in managed fields
// and in the configuration that kubectl keeps in an annotation.
func checkItems(v reflect.Value, path *field.Path) error {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return checkItems(v.Elem(), path)
		}
	case reflect.Struct:
		return checkStruct(v, path)
	case reflect.Map:
		if err := checkLen(v.Len(), path); err != nil || !nests(v.Type().Elem()) {
			return err
		}
		for _, key := range v.MapKeys() {
			if err := checkItems(v.MapIndex(key), path.Key(key.String())); err != nil {
				return err
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		if err := checkLen(v.Len(), path); err != nil || !nests(v.Type().Elem()) {
			return err
		}
		for i := range v.Len() {
			if err := checkItems(v.Index(i), path.Index(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkStruct(v reflect.Value, path *field.Path) error {
	switch v.Type() {
	case typeFieldsV1:
		if fields, ok := v.Interface().(metav1.FieldsV1); ok {
			return checkJSON(fields.GetRawBytes(), path.String())
		}
	case typeMeta:
		annotation := v.FieldByName("Annotations").MapIndex(reflect.ValueOf(corev1.LastAppliedConfigAnnotation))
		if annotation.IsValid() {
			key := path.Child("annotations").Key(corev1.LastAppliedConfigAnnotation)
			if err := checkJSON([]byte(annotation.String()), key.String()); err != nil {
				return err
			}
		}
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || !nests(f.Type) {
			continue
		}
		child := path
		if name := strings.ToLower(f.Name[:1]) + f.Name[1:]; f.Type == typeMeta {
			child = path.Child("metadata")
		} else if !f.Anonymous {
			child = path.Child(name)
		}
		if err := checkItems(v.Field(i), child); err != nil {
			return err
		}
	}
	return nil
}

// nests says whether values of a type can hold maps or lists.
func nests(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Map, reflect.Slice:
		return true
	}
	return false
}

func checkLen(count int, path *field.Path) error {
	if count <= validation.MaxItems {
		return nil
	}
	return field.TooMany(path, count, validation.MaxItems)
}

// checkJSON returns an error for the first object or array of too many items. What is no JSON is for
// those to refuse who decode it.
func checkJSON(data []byte, path string) error {
	if !isWide(data) {
		return nil
	}
	return findWide(data, path)
}

// isWide says whether an object or array of JSON has too many items, by counting commas, which takes
// next to nothing of a request's time.
func isWide(data []byte) bool {
	var commas []int32
	quoted := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '{', c == '[':
			commas = append(commas, 0)
		case (c == '}' || c == ']') && len(commas) > 0:
			commas = commas[:len(commas)-1]
		case c == ',' && len(commas) > 0:
			if commas[len(commas)-1]++; commas[len(commas)-1] >= validation.MaxItems {
				return true
			}
		}
	}
	return false
}

// findWide returns the error for an object or array of too many items, with its path.
func findWide(data []byte, path string) error {
	type level struct {
		// isKey: the next token is a key, or the end, of an object.
		object, isKey bool
		items         int
		name          string
	}
	var levels []level
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil
		}
		top := len(levels) - 1
		if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
			levels = levels[:top]
			continue
		}
		if top >= 0 {
			at := &levels[top]
			if at.object && at.isKey {
				at.name, at.isKey = fmt.Sprint(token), false
				continue
			}
			if !at.object {
				at.name = strconv.Itoa(at.items)
			}
			at.isKey = at.object
			if at.items++; at.items > validation.MaxItems {
				for _, l := range levels[:top] {
					path += "." + l.name
				}
				return fmt.Errorf("%s: Too many: must have at most %d items", strings.TrimPrefix(path, "."), validation.MaxItems)
			}
		}
		if delim, ok := token.(json.Delim); ok {
			levels = append(levels, level{object: delim == '{', isKey: delim == '{'})
		}
	}
}

// withBoundedPatches refuses patches with a map or list of too many items.
func withBoundedPatches(next http.Handler, codecs runtime.NegotiatedSerializer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, known := request.RequestInfoFrom(r.Context())
		if !known || !info.IsResourceRequest || r.Method != http.MethodPatch || r.Body == nil {
			next.ServeHTTP(w, r)
			return
		}
		data, err := io.ReadAll(io.LimitReader(r.Body, validation.RequestLimit+1))
		if err != nil || len(data) > validation.RequestLimit {
			// The handler says what is wrong with it.
			r.Body = readBody{io.MultiReader(bytes.NewReader(data), failing{err}, r.Body), r.Body}
			next.ServeHTTP(w, r)
			return
		}
		if err := checkPatch(r.Header.Get("Content-Type"), data); err != nil {
			responsewriters.ErrorNegotiated(apierrors.NewBadRequest("the patch: "+err.Error()), codecs, gvOf(info), w, r)
			return
		}
		r.Body = readBody{bytes.NewReader(data), r.Body}
		next.ServeHTTP(w, r)
	})
}

func checkPatch(contentType string, data []byte) error {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err == nil && types.PatchType(mediaType) == types.ApplyYAMLPatchType && !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		if data, err = yaml.ToJSON(data); err != nil {
			return nil // for the handler to refuse
		}
	}
	return checkJSON(data, "")
}

// readBody is a body of which a part was read.
type readBody struct {
	io.Reader
	io.Closer
}

// failing is what is read after a body that could not be read, if err is set.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}
