{{- define "holdfast.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains "holdfast" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-holdfast" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ default "holdfast" .Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "holdfast.keySecret" -}}
{{- default (printf "%s-key" (include "holdfast.fullname" .)) .Values.key.existingSecret }}
{{- end }}

{{/* What the file says: the user's part, and what follows from the values. */}}
{{- define "holdfast.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $fetch := default dict $config.fetch -}}
{{- if $fetch.url -}}
{{- $_ := set $fetch "pass_key_file" "/etc/holdfast-key/pass" -}}
{{- $_ := set $config "fetch" $fetch -}}
{{- if .Values.relay.enabled -}}
{{- $_ := set $config "relay" (dict "listen" "0.0.0.0:9903") -}}
{{- end -}}
{{- else -}}
{{- $_ := unset $config "fetch" -}}
{{- end -}}
{{- $_ := set $config "listen" "0.0.0.0:9901" -}}
{{- $_ := set $config "admin" "0.0.0.0:9902" -}}
{{- $_ := set $config "drain" (dict "deadline" (printf "%ds" (int .Values.drain.deadlineSeconds)) "spread" (printf "%ds" (int .Values.drain.spreadSeconds))) -}}
{{- if .Values.tls.secretName -}}
{{- $tls := dict "cert" "/etc/holdfast-tls/tls.crt" "key" "/etc/holdfast-tls/tls.key" -}}
{{- if .Values.tls.clientCA -}}{{- $_ := set $tls "client_ca" "/etc/holdfast-tls/ca.crt" -}}{{- end -}}
{{- $_ := set $config "tls" $tls -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}
