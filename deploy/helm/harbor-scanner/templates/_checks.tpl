{{/* What the schema cannot tell: values that do not fit together. All that is found is told at once. */}}

{{- define "harbor-scanner.check" -}}
{{- $problems := list -}}
{{- range list "replicas" "scanners" "tls" "settings" "immutable" "volumes" "metrics" -}}
{{- $lines := include (printf "harbor-scanner.check.%s" .) $ | splitList "\n" -}}
{{- $problems = concat $problems (without $lines "") -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n%d of the values cannot be used:\n  - %s\n" (len $problems) (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "harbor-scanner.check.replicas" -}}
{{- $redis := include "harbor-scanner.hasRedis" . -}}
{{- if and (not $redis) (gt (include "harbor-scanner.mostReplicas" . | int) 1) }}
redis.url: several replicas need a Redis. Without one each has a queue of its own, and a poll of Harbor that another replica gets finds no scan
{{- end }}
{{- if and (not $redis) (eq .Values.workload.kind "Deployment") }}
redis.url: a Deployment needs a Redis, for its disks go with its pods; or set workload.kind to StatefulSet
{{- end }}
{{- if and (include "harbor-scanner.cachePersists" .) (eq .Values.workload.kind "Deployment") }}
persistence.enable: a persistent cache needs workload.kind StatefulSet, which has a claim for each replica
{{- end }}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) }}
autoscaling.maxReplicas: it is less than autoscaling.minReplicas
{{- end }}
{{- end -}}

{{- define "harbor-scanner.check.scanners" -}}
{{- if contains "harbor-scanner-aqua" .Values.scanner.image.repository }}
scanner.image: {{ .Values.scanner.image.repository }} is the image of the Aqua adapter, which this chart replaces; leave scanner.image.repository and scanner.image.tag out, or name the image of harbor-scanner
{{- end }}
{{- if include "harbor-scanner.aqua" . }}
{{- $sources := include "harbor-scanner.secretSources" . | fromJson }}
{{- if not (or (hasKey $sources "SCANNER_AQUA_TOKEN") (and (hasKey $sources "SCANNER_AQUA_USERNAME") (hasKey $sources "SCANNER_AQUA_PASSWORD"))) }}
scanner.aqua.username and scanner.aqua.password: Aqua needs both, or scanner.aqua.token; settingsFromSecrets takes them from a Secret
{{- end }}
{{- if and .Values.aqua.copyProgram (not (include "harbor-scanner.value" (list . "aqua.version"))) }}
aqua.version: the version of Aqua is needed, for scannercli is copied from its image {{ .Values.aqua.registry.server }}/scanner:VERSION; set aqua.copyProgram to false if the image of harbor-scanner has a scannercli
{{- end }}
{{- if and (kindIs "float64" .Values.aqua.version) (regexMatch "^[0-9]+$" (toJson .Values.aqua.version)) }}
aqua.version: {{ toJson .Values.aqua.version }} may have lost its end, as in 5.0; write it in quotes
{{- end }}
{{- if ne (empty .Values.aqua.registry.username) (empty .Values.aqua.registry.password) }}
aqua.registry.username and aqua.registry.password: give both, or name a Secret in imagePullSecrets
{{- end }}
{{- end }}
{{- if include "harbor-scanner.qualys" . }}
{{- $certificates := .Values.qualys.certificates }}
{{- $disabled := include "harbor-scanner.value" (list . "service.disable-qualys-tls") }}
{{- $mounted := include "harbor-scanner.hasCertificates" . }}
{{- if and $disabled (not (include "harbor-scanner.isTrue" (list . "service.disable-qualys-tls"))) (not $mounted) }}
service.disable-qualys-tls: it is false, so that certificates of the platform are mounted; name what holds them in qualys.certificates.secret or qualys.certificates.configMap
{{- end }}
{{- if and $certificates.secret $certificates.configMap }}
qualys.certificates: give a secret or a configMap, not both
{{- end }}
{{- $path := include "harbor-scanner.certPath" . }}
{{- if and (include "harbor-scanner.mountsCertificates" .) (or (lt (len (splitList "/" $path)) 4) (regexMatch "^/(etc/ssl|usr|etc/harbor-scanner|etc/pki/harbor-scanner|var/lib/scanner)/" $path)) }}
scannerArgs.cert-path: {{ $path }} must lie in a directory of its own, such as /etc/pki/qualys/ca.crt, for that directory is mounted
{{- end }}
{{- $pod := include "harbor-scanner.value" (list . "scannerArgs.pod") }}
{{- $pods := list "US1" "US2" "US3" "US4" "EU1" "EU2" "EU3" "IN1" "CA1" "AE1" "UK1" "AU1" "KSA1" "GOV1" }}
{{- if and $pod (not (has (upper $pod) $pods)) }}
scannerArgs.pod: {{ $pod }} is none of {{ join ", " $pods }}; for another platform leave it empty and set scannerArgs.gateway-url
{{- end }}
{{- $driver := include "harbor-scanner.value" (list . "scannerArgs.storage-driver") }}
{{- if and $driver (ne $driver (include "harbor-scanner.storageDriver" .)) }}
scannerArgs.storage-driver: {{ $driver }} needs the storage of the node: leave it out, set qualys.nodeStorage to true and qualys.runtime to containerd or docker
{{- end }}
{{- end }}
{{- end -}}

{{- define "harbor-scanner.check.tls" -}}
{{- $certificate := include "harbor-scanner.tlsCertificate" . -}}
{{- $key := include "harbor-scanner.tlsKey" . -}}
{{- $tls := include "harbor-scanner.tls" . | fromYaml -}}
{{- if and .Values.tls.existingSecret .Values.tls.issuer.name }}
tls: give existingSecret or issuer, not both
{{- end }}
{{- if and $tls.on (or .Values.tls.existingSecret .Values.tls.issuer.name) $certificate }}
service.tlsCertData: a certificate is given by tls.existingSecret or tls.issuer as well; keep one of them
{{- end }}
{{- if and $tls.on (not .Values.tls.existingSecret) (not .Values.tls.issuer.name) }}
{{- if not (and $certificate $key) }}
service.tlsCertData and service.tlsKeyData: TLS is on and needs both, or tls.existingSecret, or tls.issuer.name
{{- else if ne (hasPrefix "/" $certificate) (hasPrefix "/" $key) }}
service.tlsCertData and service.tlsKeyData: give both as PEM text or both as a path in the pod
{{- else if not (or (hasPrefix "/" $certificate) (and (contains "BEGIN CERTIFICATE" $certificate) (contains "PRIVATE KEY" $key))) }}
service.tlsCertData and service.tlsKeyData: they must be the PEM text itself (helm … --set-file service.tlsCertData=tls.crt), or an absolute path in the pod
{{- end }}
{{- end }}
{{- end -}}

{{- define "harbor-scanner.check.settings" -}}
{{- /* Not by the schema, whose messages have the value, and so a password. */}}
{{- range $path := list "redis.url" "scanner.redis.poolURL" "scanner.store.redisURL" "secretSettings.SCANNER_REDIS_URL" }}
{{- $url := include "harbor-scanner.value" (list $ $path) }}
{{- if and $url (not (regexMatch "^(rediss?|unix|rediss?[+]sentinel)://" $url)) }}
{{ $path }}: it must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://
{{- end }}
{{- end }}
{{- $own := include "harbor-scanner.ownSettings" . | fromJson -}}
{{- $secrets := include "harbor-scanner.secretTable" . | fromYaml -}}
{{- range $name, $_ := .Values.settings }}
{{- if hasKey $own $name }}
settings.{{ $name }}: other values give it already ({{ get $own $name }}); docs/kubernetes.md tells which
{{- else if hasKey $secrets (trimSuffix "_FILE" $name) }}
settings.{{ $name }}: it is secret and belongs in secretSettings or settingsFromSecrets
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.secretSettings }}
{{- if not (hasKey $secrets $name) }}
secretSettings.{{ $name }}: there is no such secret setting; there are {{ keys $secrets | sortAlpha | join ", " }}
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.settingsFromSecrets }}
{{- if not (hasKey $secrets $name) }}
settingsFromSecrets.{{ $name }}: there is no such secret setting; there are {{ keys $secrets | sortAlpha | join ", " }}
{{- else if hasKey (include "harbor-scanner.secretSettings" $ | fromJson) $name }}
settingsFromSecrets.{{ $name }}: another value gives it too; keep one of them
{{- end }}
{{- end }}
{{- end -}}

{{/*
What of a workload cannot be changed; the API server's own refusal does not say what to do. Only a real installation
can be looked at: `helm template` sees none.
*/}}
{{- define "harbor-scanner.check.immutable" -}}
{{- $name := include "harbor-scanner.fullname" . -}}
{{- $namespace := include "harbor-scanner.namespace" . -}}
{{- $there := lookup "apps/v1" .Values.workload.kind $namespace $name -}}
{{- if $there }}
{{- $delete := printf "kubectl --namespace %s delete %s %s" $namespace (lower .Values.workload.kind) $name }}
{{- $selector := dict "app.kubernetes.io/name" (include "harbor-scanner.name" .) "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/component" "scanner" }}
{{- if ne (toJson $there.spec.selector.matchLabels) (toJson $selector) }}
workload.kind: there is a {{ .Values.workload.kind }} {{ $name }} of another chart, whose selector cannot be changed. Run `{{ $delete }}`, which ends its pods and leaves claims as they are, then upgrade again
{{- else if eq .Values.workload.kind "StatefulSet" }}
{{- $before := list }}
{{- range $claim := $there.spec.volumeClaimTemplates }}
{{- $before = append $before (include "harbor-scanner.claimSummary" $claim) }}
{{- end }}
{{- $after := list }}
{{- range $claim := (include "harbor-scanner.claims" . | fromYaml).claims }}
{{- $after = append $after (include "harbor-scanner.claimSummary" $claim) }}
{{- end }}
{{- if ne (join "; " $before) (join "; " $after) }}
data.* and persistence.*: the claims of a StatefulSet cannot be changed. There are {{ join "; " $before | default "none" }}; wanted are {{ join "; " $after | default "none" }}. Run `{{ $delete }} --cascade=orphan`, which leaves its pods and claims as they are, then upgrade again
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "harbor-scanner.check.volumes" -}}
{{- if include "harbor-scanner.manualCache" . }}
{{- $workload := printf "%s/%s" (lower .Values.workload.kind) (include "harbor-scanner.fullname" .) }}
{{- $namespace := include "harbor-scanner.namespace" . }}
{{- range $index := until (include "harbor-scanner.mostReplicas" . | int) }}
{{- $name := include "harbor-scanner.cacheVolume" (list $ $index) }}
{{- $claim := include "harbor-scanner.cacheClaim" (list $ $index) }}
{{- $there := lookup "v1" "PersistentVolume" "" $name }}
{{- if $there }}
{{- $path := dig "spec" "hostPath" "path" "" $there }}
{{- if ne $path (include "harbor-scanner.cacheDir" $) }}
scannerArgs.cache-dir: the volume {{ $name }} has {{ $path }}, which cannot be changed. Keep that, or run `kubectl --namespace {{ $namespace }} delete {{ $workload }} persistentvolumeclaim/{{ $claim }}` and `kubectl delete persistentvolume/{{ $name }}`, which leave the directory as it is, then upgrade again
{{- else if eq (dig "status" "phase" "" $there) "Released" }}
persistence.storageClass: the volume {{ $name }} is kept for a claim that is gone, and takes no other. Run `kubectl delete persistentvolume/{{ $name }}`, which leaves its directory as it is, then try again
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "harbor-scanner.claimSummary" -}}
{{- printf "%s (%s, %s, class %s)" .metadata.name .spec.resources.requests.storage (join " " .spec.accessModes) (default "default" .spec.storageClassName) -}}
{{- end -}}
