{{/* Names and labels. The rules for names are those of the Aqua adapter's chart, and Qualys' default name. */}}

{{- define "harbor-scanner.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the service and of most objects: the host under which Harbor reaches it. Labels that
Kubernetes makes of the name of a StatefulSet leave 52 characters. */}}
{{- define "harbor-scanner.fullname" -}}
{{- $given := include "harbor-scanner.value" (list . "fullnameOverride") -}}
{{- if $given -}}
{{- $given -}}
{{- else if eq (include "harbor-scanner.primary" .) "qualys" -}}
qualys-scanner
{{- else if contains (include "harbor-scanner.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "harbor-scanner.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "harbor-scanner.namespace" -}}
{{- .Release.Namespace -}}
{{- end -}}

{{/* Labels that never change in the life of a release: selectors and claims cannot be changed. */}}
{{- define "harbor-scanner.selectorLabels" -}}
app.kubernetes.io/name: {{ include "harbor-scanner.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "harbor-scanner.labels" -}}
{{ include "harbor-scanner.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Name of the service account: that of the release. */}}
{{- define "harbor-scanner.serviceAccountName" -}}
{{- default .Release.Name .Values.serviceAccount.name -}}
{{- end -}}

{{/* Reference of our own image. */}}
{{- define "harbor-scanner.image" -}}
{{- $image := .Values.scanner.image -}}
{{- $name := printf "%s%s" (ternary (printf "%s/" $image.registry) "" (ne $image.registry "")) $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (include "harbor-scanner.asText" (default .Chart.AppVersion $image.tag)) -}}
{{- end -}}
{{- end -}}
