{{- define "stream-capi.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains "stream-capi" .Release.Name -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-stream-capi" .Release.Name | trunc 53 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* The members. The alert rules look for a job of this name, which the PodMonitor takes from the label. */}}
{{- define "stream-capi.selector" -}}
app.kubernetes.io/name: stream-capi
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Pods that run a command with the members' settings: none is counted, scraped or evicted as a member. */}}
{{- define "stream-capi.toolbox.selector" -}}
app.kubernetes.io/name: stream-capi-toolbox
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What every object bears besides its name. */}}
{{- define "stream-capi.labels" -}}
app.kubernetes.io/part-of: stream-capi
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* With a digest of the content: a change of the settings is a rollout, and pods of before keep the settings of before. */}}
{{- define "stream-capi.configmap" -}}
{{ include "stream-capi.fullname" . }}-{{ include "stream-capi.toml" . | sha256sum | trunc 10 }}
{{- end -}}

{{- define "stream-capi.kind" -}}
{{ ternary "StatefulSet" "Deployment" .Values.staticMembership }}
{{- end -}}
