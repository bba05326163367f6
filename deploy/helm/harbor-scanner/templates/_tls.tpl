{{/* TLS of the service: from whom its certificate is, and where the program finds it. */}}

{{- define "harbor-scanner.tlsCertificate" -}}
{{- include "harbor-scanner.firstValue" (list . "service.tlsCertData" "scanner.api.tlsCertificate") -}}
{{- end -}}

{{- define "harbor-scanner.tlsKey" -}}
{{- include "harbor-scanner.firstValue" (list . "service.tlsKeyData" "scanner.api.tlsKey") -}}
{{- end -}}

{{/*
As YAML: on; secret (the Secret that is mounted, if any); own (whether its content is in the values); certificate and
key (paths in the pod).
*/}}
{{- define "harbor-scanner.tls" -}}
{{- $wanted := or (include "harbor-scanner.isTrue" (list . "service.tlsEnabled")) (include "harbor-scanner.isTrue" (list . "scanner.api.tlsEnabled")) -}}
{{- $certificate := include "harbor-scanner.tlsCertificate" . -}}
{{- $own := printf "%s-tls" (include "harbor-scanner.fullname" .) -}}
{{- $tls := dict "on" false "secret" "" "own" false "certificate" "/etc/pki/harbor-scanner/tls.crt" "key" "/etc/pki/harbor-scanner/tls.key" -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $tls "secret" .Values.tls.existingSecret -}}
{{- $_ := set $tls "on" true -}}
{{- else if .Values.tls.issuer.name -}}
{{- $_ := set $tls "secret" $own -}}
{{- $_ := set $tls "on" true -}}
{{- else if $wanted -}}
{{- $_ := set $tls "on" true -}}
{{- if hasPrefix "/" $certificate -}}
{{- $_ := set $tls "certificate" $certificate -}}
{{- $_ := set $tls "key" (include "harbor-scanner.tlsKey" .) -}}
{{- else -}}
{{- $_ := set $tls "secret" $own -}}
{{- $_ := set $tls "own" true -}}
{{- end -}}
{{- end -}}
{{- toYaml $tls -}}
{{- end -}}

{{- define "harbor-scanner.scheme" -}}
{{- ternary "https" "http" (include "harbor-scanner.tls" . | fromYaml).on -}}
{{- end -}}
