package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// withStatuses answers with a Status wherever next answers 404 or 405 with
// something else, as handlers outside of the API groups do, and says what to do
// instead where our kinds lack what people try on pods. It refuses paths that name no object.
func withStatuses(next http.Handler, codecs runtime.NegotiatedSerializer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, known := request.RequestInfoFrom(r.Context())
		if known {
			err := oddPath(r, info)
			if err == nil {
				err = instead(info)
			}
			if err != nil {
				responsewriters.ErrorNegotiated(err, codecs, gvOf(info), w, r)
				return
			}
		}
		if known && info.IsResourceRequest && info.Verb == "watch" {
			next.ServeHTTP(w, r)
			return
		}
		s := &statusWriter{ResponseWriter: w, outside: known && !info.IsResourceRequest}
		next.ServeHTTP(responsewriter.WrapForHTTP1Or2(s), r)
		if !s.held {
			return
		}
		var object metav1.TypeMeta
		if json.Unmarshal(s.body.Bytes(), &object) == nil {
			if object.Kind == "Status" {
				s.release()
				return
			}
			s.body.Reset() // what paths there are, which goes at the root alone
		}
		s.drop()
		message := strings.TrimSpace(s.body.String())
		if message == "" || strings.HasPrefix(message, "404 page not found") {
			message = fmt.Sprintf("the server has nothing at %s", r.URL.Path)
		}
		err := apierrors.NewGenericServerResponse(s.code, strings.ToLower(r.Method), schema.GroupResource{}, "", "", 0, false)
		err.ErrStatus.Message = message
		responsewriters.ErrorNegotiated(err, codecs, schema.GroupVersion{Version: "v1"}, w, r)
	})
}

// maxHeldBytes bounds what of an answer is held back.
const maxHeldBytes = 64 << 10

// statusWriter holds back an answer of 404 or 405 that may be no object of the API.
type statusWriter struct {
	http.ResponseWriter
	// outside says that the request is not one for an object.
	outside bool
	began   bool
	held    bool
	code    int
	body    bytes.Buffer
}

var _ responsewriter.UserProvidedDecorator = (*statusWriter)(nil)

// Unwrap is for the wrapper that adds flushing and the like.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// WriteHeader begins the answer, or holds it back.
func (s *statusWriter) WriteHeader(code int) {
	if s.began || s.held {
		return
	}
	kind := s.Header().Get("Content-Type")
	missing := code == http.StatusNotFound || code == http.StatusMethodNotAllowed
	if missing && (kind == "" || strings.HasPrefix(kind, "text/") || s.outside && strings.HasPrefix(kind, "application/json")) {
		s.held, s.code = true, code
		return
	}
	s.began = true
	s.ResponseWriter.WriteHeader(code)
}

// Write passes the answer on, or keeps its beginning if it is held back.
func (s *statusWriter) Write(p []byte) (int, error) {
	if s.held {
		s.body.Write(p[:min(len(p), maxHeldBytes-min(maxHeldBytes, s.body.Len()))])
		return len(p), nil
	}
	s.began = true
	return s.ResponseWriter.Write(p)
}

// release sends what was held back.
func (s *statusWriter) release() {
	s.ResponseWriter.WriteHeader(s.code)
	_, _ = s.ResponseWriter.Write(s.body.Bytes()) // who cannot be answered is gone
}

// drop makes way for another answer.
func (s *statusWriter) drop() {
	for _, name := range []string{"Content-Type", "Content-Length", "X-Content-Type-Options"} {
		s.Header().Del(name)
	}
}
