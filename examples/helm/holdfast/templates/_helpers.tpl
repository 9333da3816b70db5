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

{{/* "true" if a policy makes ids of its own, which takes a key. */}}
{{- define "holdfast.seals" -}}
{{- range .Values.config.policies }}{{ if eq (default "origin" .ids) "sealed" }}true{{ break }}{{ end }}{{ end }}
{{- end }}

{{/* "true" if there is a relay listener: only what is fetched can be relayed. */}}
{{- define "holdfast.relays" -}}
{{- if and .Values.config.fetch .Values.config.fetch.url .Values.relay.enabled }}true{{ end }}
{{- end }}

{{/* What the schema cannot say: values that do not go together. */}}
{{- define "holdfast.validate" -}}
{{- with .Values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d)" (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- end }}
{{- with .Values.drain }}
{{- if gt (int .spreadSeconds) (int .deadlineSeconds) }}
{{- fail (printf "drain.spreadSeconds (%d) is more than drain.deadlineSeconds (%d), by which the last stream has to have ended" (int .spreadSeconds) (int .deadlineSeconds)) }}
{{- end }}
{{- end }}
{{- $fetch := default dict .Values.config.fetch }}
{{- range .Values.config.policies }}
{{- if and (eq (default "auto" .mode) "hold") (not $fetch.url) }}
{{- fail (printf "policy %s: mode hold needs a way back through Envoy; set config.fetch.url to a listener that leads to the upstreams, such as http://envoy:8080" .name) }}
{{- end }}
{{- end }}
{{- $store := default dict .Values.config.store }}
{{- if and (eq (default "memory" $store.kind) "redis") (not $store.url) }}
{{- fail "config.store.kind is redis; set config.store.url to its address, such as redis://redis:6379/0" }}
{{- end }}
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
{{- if include "holdfast.seals" . -}}
{{- $_ := set $config "seal" (dict "key_file" "/etc/holdfast-key/seal") -}}
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
