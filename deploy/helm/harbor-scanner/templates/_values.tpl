{{/* How values are read. Both vendors' names are looked up by the tables in _settings.tpl. */}}

{{/* A value as text. Helm keeps numbers of a file as floats; "---" is how Qualys' guide writes that nothing is given. */}}
{{- define "harbor-scanner.asText" -}}
{{- if kindIs "float64" . -}}
{{- toJson . -}}
{{- else if and (not (kindIs "invalid" .)) (ne (toString .) "---") -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* The text under one path, such as scanner.aqua.host; arguments: context, path. */}}
{{- define "harbor-scanner.value" -}}
{{- $node := (first .).Values -}}
{{- range splitList "." (last .) -}}
{{- if kindIs "map" $node -}}
{{- $node = get $node . -}}
{{- else -}}
{{- $node = "" -}}
{{- end -}}
{{- end -}}
{{- include "harbor-scanner.asText" $node -}}
{{- end -}}

{{/* The text under the first of several paths that has any; they must agree. Arguments: context, paths. */}}
{{- define "harbor-scanner.firstValue" -}}
{{- $root := first . -}}
{{- $found := "" -}}
{{- $where := "" -}}
{{- range $path := rest . -}}
{{- $text := include "harbor-scanner.value" (list $root $path) -}}
{{- if and $text $found (ne $text $found) -}}
{{- fail (printf "%s and %s are two names of one thing and disagree: keep one of them" $where $path) -}}
{{- end -}}
{{- if and $text (not $found) -}}
{{- $found = $text -}}
{{- $where = $path -}}
{{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}

{{/* "true" if a value says so; what YAML 1.1 calls true is already true here. Arguments: context, path. */}}
{{- define "harbor-scanner.isTrue" -}}
{{- if has (include "harbor-scanner.value" . | lower) (list "true" "1" "t" "yes" "on") -}}
true
{{- end -}}
{{- end -}}

{{/* "true" if the Qualys cache outlives its pod: the guide has two names for it, of which `enable` holds. */}}
{{- define "harbor-scanner.cachePersists" -}}
{{- if include "harbor-scanner.qualys" . -}}
{{- $name := ternary "persistence.enable" "persistence.enabled" (ne (include "harbor-scanner.value" (list . "persistence.enable")) "") -}}
{{- include "harbor-scanner.isTrue" (list . $name) -}}
{{- end -}}
{{- end -}}

{{- define "harbor-scanner.cacheDir" -}}
{{- include "harbor-scanner.value" (list . "scannerArgs.cache-dir") | default "/root/.cache/qualys/qscanner" -}}
{{- end -}}

{{- define "harbor-scanner.replicas" -}}
{{- include "harbor-scanner.firstValue" (list . "service.replicaCount" "replicaCount") | default "1" -}}
{{- end -}}

{{/* How many replicas there may ever be. */}}
{{- define "harbor-scanner.mostReplicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- .Values.autoscaling.maxReplicas -}}
{{- else -}}
{{- include "harbor-scanner.replicas" . -}}
{{- end -}}
{{- end -}}

{{/* The port of the service, with the vendors' defaults. */}}
{{- define "harbor-scanner.servicePort" -}}
{{- include "harbor-scanner.value" (list . "service.port") | default (ternary "5000" "8080" (eq (include "harbor-scanner.primary" .) "qualys")) -}}
{{- end -}}

{{/* The port that the program listens on: without privileges not one below 1024. */}}
{{- define "harbor-scanner.containerPort" -}}
{{- $port := include "harbor-scanner.servicePort" . | int -}}
{{- ternary (add $port 8000) $port (lt $port 1024) -}}
{{- end -}}

{{/* Where Harbor reaches the service. */}}
{{- define "harbor-scanner.url" -}}
{{- printf "%s://%s.%s:%s" (include "harbor-scanner.scheme" .) (include "harbor-scanner.fullname" .) (include "harbor-scanner.namespace" .) (include "harbor-scanner.servicePort" .) -}}
{{- end -}}
