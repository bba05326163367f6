{{/* What works, but perhaps not as it is meant: for the notes, one a line. */}}

{{- define "harbor-scanner.warnings" -}}
{{- $sources := include "harbor-scanner.secretSources" . | fromJson -}}
{{- if include "harbor-scanner.qualys" . }}
{{- if not (or (include "harbor-scanner.value" (list . "scannerArgs.pod")) (include "harbor-scanner.value" (list . "scannerArgs.gateway-url"))) }}
scannerArgs.pod: neither it nor scannerArgs.gateway-url is given; scans for vulnerabilities by Qualys will fail
{{- end }}
{{- if not (hasKey $sources "QUALYS_ACCESS_TOKEN") }}
scannerArgs.access-token: there is none; scans for vulnerabilities by Qualys will fail
{{- end }}
{{- $known := concat (include "harbor-scanner.scannerArgs" . | splitList " ") (list "access-token" "proxy") }}
{{- range $key := keys (default dict .Values.scannerArgs) | sortAlpha }}
{{- if not (has $key $known) }}
scannerArgs.{{ $key }}: the service knows no such key, and it is not passed on
{{- end }}
{{- end }}
{{- $enable := include "harbor-scanner.value" (list . "persistence.enable") }}
{{- $enabled := include "harbor-scanner.value" (list . "persistence.enabled") }}
{{- if and $enable $enabled (ne $enable $enabled) }}
persistence.enable and persistence.enabled disagree: persistence.enable ({{ $enable }}) holds
{{- end }}
{{- end }}
{{- if not (include "harbor-scanner.qualys" .) }}
{{- range $name := list "persistence.enable" "persistence.enabled" }}
{{- if include "harbor-scanner.isTrue" (list $ $name) }}
{{ $name }}: it is for the cache of qscanner, which does not run; the disk of the service is data.*
{{- end }}
{{- end }}
{{- end }}
{{- if and (include "harbor-scanner.qualys" .) (include "harbor-scanner.hasCertificates" .) (not (include "harbor-scanner.mountsCertificates" .)) }}
qualys.certificates: they are not mounted, for service.disable-qualys-tls is true
{{- end }}
{{- if and (not .Values.scanner.image.registry) (not (contains "/" .Values.scanner.image.repository)) }}
scanner.image.registry: there is none; the image {{ .Values.scanner.image.repository }} must be on the nodes already, else they look for it on Docker Hub
{{- end }}
{{- if include "harbor-scanner.manualCache" . }}
persistence.storageClass: manual; on each node that may get a pod, run: install -d -o 1000 -g 1000 {{ include "harbor-scanner.cacheDir" . }}
{{- end }}
{{- if and (include "harbor-scanner.hasRedis" .) (not (hasKey $sources "SCANNER_STORE_KEY")) }}
secretSettings.SCANNER_STORE_KEY: there is none; the key that encrypts registry credentials in Redis lies in that same Redis
{{- end }}
{{- if and (not (include "harbor-scanner.hasRedis" .)) (not .Values.data.persistent) }}
data.persistent: it is false and there is no Redis; scans that wait are lost with the pod
{{- end }}
{{- $tls := include "harbor-scanner.tls" . | fromYaml }}
{{- if and (not $tls.on) (include "harbor-scanner.tlsCertificate" .) }}
service.tlsEnabled: it is not true; the certificate that is given is not used
{{- end }}
{{- if and $tls.on (not $tls.secret) }}
{{- $mounted := false }}
{{- range .Values.extraVolumeMounts }}
{{- $place := default "" .mountPath | trimSuffix "/" }}
{{- $mounted = or $mounted (eq $place $tls.certificate) (hasPrefix (printf "%s/" $place) $tls.certificate) }}
{{- end }}
{{- if not $mounted }}
service.tlsCertData: {{ $tls.certificate }} is a path in the pod, and no extraVolumeMounts puts a file there; for a file of yours use --set-file
{{- end }}
{{- end }}
{{- range $name := keys .Values.settingsFromSecrets | sortAlpha }}
{{- if not (regexMatch "^(SCANNER_)?(AQUA|CLI|QUALYS)_" $name) }}
settingsFromSecrets.{{ $name }}: when that Secret changes, restart the pods: kubectl --namespace {{ include "harbor-scanner.namespace" $ }} rollout restart {{ lower $.Values.workload.kind }}/{{ include "harbor-scanner.fullname" $ }}
{{- end }}
{{- end }}
{{- end -}}
