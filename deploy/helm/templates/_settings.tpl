{{/* The settings as data, whether they were given as values or as a file. */}}
{{- define "stream-capi.settings" -}}
{{- if .Values.settingsFile -}}
{{- $settings := fromToml .Values.settingsFile -}}
{{- with $settings.Error }}{{ fail (printf "settingsFile is no TOML: %v" .) }}{{ end -}}
{{- toJson $settings -}}
{{- else -}}
{{- toJson .Values.settings -}}
{{- end -}}
{{- end -}}

{{/* stream-capi.toml. toToml would write whole numbers as 25.0, which Kafka's client refuses. */}}
{{- define "stream-capi.toml" -}}
{{- if .Values.settingsFile -}}
{{ .Values.settingsFile }}
{{- else -}}
{{- range $name, $section := .Values.settings }}
{{- if kindIs "slice" $section }}
{{- range $section }}
[[{{ $name }}]]
{{ include "stream-capi.toml.keys" . }}
{{ end }}
{{- else if $section }}
[{{ $name }}]
{{ include "stream-capi.toml.keys" $section }}
{{ end }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "stream-capi.toml.keys" -}}
{{- $lines := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $key = ternary $key (toJson $key) (mustRegexMatch "^[A-Za-z0-9_-]+$" $key) -}}
{{- $lines = append $lines (printf "%s = %s" $key (include "stream-capi.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}

{{/* A value on one line. Texts, numbers and booleans are written alike in JSON and TOML. */}}
{{- define "stream-capi.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{ include "stream-capi.toml.keys" . | replace "\n" ", " }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . }}{{ $items = append $items (include "stream-capi.toml.value" .) }}{{ end -}}
[{{ join ", " $items }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}
