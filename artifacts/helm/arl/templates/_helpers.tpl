{{/* What a selector of the server's pod goes by. Never to be changed: a StatefulSet's cannot be. */}}
{{- define "arl.selector" -}}
app.kubernetes.io/name: arl
app.kubernetes.io/component: apiserver
{{- end }}

{{/* Labels of a pod or claim, which may not differ between versions of the chart. */}}
{{- define "arl.stableLabels" -}}
{{ include "arl.selector" . }}
app.kubernetes.io/part-of: arl
{{- end }}

{{/* Helm's own labels. */}}
{{- define "arl.releaseLabels" -}}
app.kubernetes.io/part-of: arl
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of an object. */}}
{{- define "arl.labels" -}}
{{ include "arl.selector" . }}
{{ include "arl.releaseLabels" . }}
{{- end }}

{{- define "arl.poolLabels" -}}
app.kubernetes.io/name: arl
app.kubernetes.io/component: pool-network
{{ include "arl.releaseLabels" . }}
{{- end }}

{{/* The server as subject of a binding. */}}
{{- define "arl.subjects" -}}
- kind: ServiceAccount
  name: arl-apiserver
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "arl.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The Secret with the serving certificate; empty if the server makes its own. */}}
{{- define "arl.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ .Values.tls.secretName | default "arl-apiserver-tls" }}
{{- else -}}
{{ .Values.tls.secretName }}
{{- end -}}
{{- end }}

{{/* What the schema cannot say of values that need each other. */}}
{{- define "arl.check" -}}
{{- with .Values.tls }}
{{- if and .certManager.enabled (not .certManager.issuerRef.name) }}
{{- fail "tls.certManager.issuerRef.name: must name the issuer that cert-manager is to ask" }}
{{- end }}
{{- if and .secretName (not .certManager.enabled) (not .caBundle) (not $.Values.apiService.annotations) }}
{{- fail "tls.secretName: needs tls.caBundle, or kube-apiserver would not trust the server; or set apiService.annotations for what puts it in" }}
{{- end }}
{{- if and .caBundle (not .secretName) }}
{{- fail "tls.caBundle: needs tls.secretName, for the server registers its own authority" }}
{{- end }}
{{- if and .caBundle .certManager.enabled }}
{{- fail "tls.caBundle: leave it out with tls.certManager, which puts it in" }}
{{- end }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- fail "metrics.serviceMonitor: needs metrics.enabled" }}
{{- end }}
{{- end }}
