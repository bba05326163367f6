{{/*
How Prometheus, which knows pods by their addresses alone, verifies the certificate that it is shown; as YAML. Only
cert-manager's Secret is known to hold the CA too.
*/}}
{{- define "harbor-scanner.scrapeTls" -}}
{{- $config := deepCopy .Values.metrics.serviceMonitor.tlsConfig -}}
{{- if not $config -}}
{{- $secret := (include "harbor-scanner.tls" . | fromYaml).secret -}}
{{- $config = dict "ca" (dict "secret" (dict "name" $secret "key" "ca.crt")) -}}
{{- end -}}
{{- $name := printf "%s.%s" (include "harbor-scanner.fullname" .) (include "harbor-scanner.namespace" .) -}}
{{- merge $config (dict "serverName" $name) | toYaml -}}
{{- end -}}

{{- define "harbor-scanner.check.metrics" -}}
{{- $monitor := .Values.metrics.serviceMonitor }}
{{- if and $monitor.enabled (include "harbor-scanner.tls" . | fromYaml).on }}
{{- if not (or $monitor.tlsConfig .Values.tls.issuer.name) }}
metrics.serviceMonitor.tlsConfig: it must tell how Prometheus verifies the certificate of the service: by the CA in a Secret or ConfigMap (ca), or not at all (insecureSkipVerify: true)
{{- end }}
{{- if and (hasKey .Values.settings "SCANNER_API_CLIENT_CAS") (not (and $monitor.tlsConfig.cert $monitor.tlsConfig.keySecret)) }}
metrics.serviceMonitor.tlsConfig: it must name the certificate that Prometheus shows, by cert and keySecret; with SCANNER_API_CLIENT_CAS nobody is let in without one
{{- end }}
{{- end }}
{{- end -}}
