{{/* The disks of a pod. */}}

{{/* As YAML: the claims of a StatefulSet, under the key claims. Their labels must never change. */}}
{{- define "harbor-scanner.claims" -}}
claims:
{{- if .Values.data.persistent }}
{{ include "harbor-scanner.claim" (list . "data" .Values.data) }}
{{- end }}
{{- if include "harbor-scanner.cachePersists" . }}
{{ include "harbor-scanner.claim" (list . "cache" .Values.persistence) }}
{{- end }}
{{- end -}}

{{/* Arguments: context, name, values. An empty storage class means the default one, "-" none at all. */}}
{{- define "harbor-scanner.claim" -}}
{{- $values := last . -}}
- metadata:
    name: {{ index . 1 }}
    labels:
      {{- include "harbor-scanner.selectorLabels" (first .) | nindent 6 }}
  spec:
    accessModes: [{{ $values.accessMode | quote }}]
    {{- with include "harbor-scanner.asText" $values.storageClass }}
    storageClassName: {{ ternary "" . (eq . "-") | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ $values.size | quote }}
{{- end -}}

{{/* "true" if the chart makes the volumes of the cache itself, on the disks of nodes. */}}
{{- define "harbor-scanner.manualCache" -}}
{{- if and (include "harbor-scanner.cachePersists" .) (eq (include "harbor-scanner.value" (list . "persistence.storageClass")) "manual") -}}
true
{{- end -}}
{{- end -}}

{{/* Such a volume, and the claim that it is for. Arguments: context, number of the replica. */}}
{{- define "harbor-scanner.cacheVolume" -}}
{{- printf "%s-%s-cache-%d" (include "harbor-scanner.namespace" (first .)) (include "harbor-scanner.fullname" (first .)) (last .) -}}
{{- end -}}

{{- define "harbor-scanner.cacheClaim" -}}
{{- printf "cache-%s-%d" (include "harbor-scanner.fullname" (first .)) (last .) -}}
{{- end -}}

{{/* Where the certificates of the Qualys platform are mounted. */}}
{{- define "harbor-scanner.certPath" -}}
{{- include "harbor-scanner.value" (list . "scannerArgs.cert-path") | default "/etc/pki/qualys/ca.crt" -}}
{{- end -}}

{{- define "harbor-scanner.hasCertificates" -}}
{{- if or .Values.qualys.certificates.secret .Values.qualys.certificates.configMap -}}
true
{{- end -}}
{{- end -}}

{{- define "harbor-scanner.mountsCertificates" -}}
{{- if and (include "harbor-scanner.qualys" .) (include "harbor-scanner.hasCertificates" .) (not (include "harbor-scanner.isTrue" (list . "service.disable-qualys-tls"))) -}}
true
{{- end -}}
{{- end -}}

{{/* "true" if a file of secrets is mounted: all secret settings but the token, which has its own place. */}}
{{- define "harbor-scanner.hasSecretFiles" -}}
{{- if omit (include "harbor-scanner.secretSources" . | fromJson) "QUALYS_ACCESS_TOKEN" -}}
true
{{- end -}}
{{- end -}}

{{- define "harbor-scanner.volumes" -}}
{{- $sources := include "harbor-scanner.secretSources" . | fromJson -}}
{{- $tls := include "harbor-scanner.tls" . | fromYaml -}}
{{- if or (eq .Values.workload.kind "Deployment") (not .Values.data.persistent) }}
- name: data
  emptyDir: {}
{{- end }}
{{- if include "harbor-scanner.hasSecretFiles" . }}
- name: secrets
  projected:
    sources:
      {{- range $name, $source := omit $sources "QUALYS_ACCESS_TOKEN" }}
      - secret:
          name: {{ $source.name }}
          items: [{key: {{ $source.key | quote }}, path: {{ $name }}}]
      {{- end }}
{{- end }}
{{- if $tls.secret }}
- name: tls
  secret:
    secretName: {{ $tls.secret }}
{{- end }}
{{- if or (include "harbor-scanner.copies" (list . "aqua")) (include "harbor-scanner.copies" (list . "qualys")) }}
- name: programs
  emptyDir: {}
{{- end }}
{{- if include "harbor-scanner.vendors" . }}
- name: tmp
  emptyDir: {}
{{- end }}
{{- if include "harbor-scanner.aqua" . }}
- name: reports
  emptyDir: {}
- name: aquascans
  emptyDir: {}
{{- end }}
{{- if include "harbor-scanner.qualys" . }}
# One volume, not a mount in a mount; and no subPath, for such a file would never change.
- name: qscanner
  projected:
    sources:
      - configMap:
          name: {{ include "harbor-scanner.fullname" . }}
          items: [{key: values.yaml, path: values.yaml}]
      {{- with $sources.QUALYS_ACCESS_TOKEN }}
      - secret:
          name: {{ .name }}
          items: [{key: {{ .key | quote }}, path: accesstoken/token}]
      {{- end }}
{{- if .Values.qualys.nodeStorage }}
- name: node-storage
  hostPath:
    path: {{ include "harbor-scanner.nodeStorage" . }}
    type: Directory
{{- end }}
{{- end }}
{{- if include "harbor-scanner.mountsCertificates" . }}
- name: platform-certificates
  {{- $items := list (dict "key" .Values.qualys.certificates.key "path" (base (include "harbor-scanner.certPath" .))) }}
  {{- if .Values.qualys.certificates.secret }}
  secret:
    secretName: {{ .Values.qualys.certificates.secret }}
    items: {{ toJson $items }}
  {{- else }}
  configMap:
    name: {{ .Values.qualys.certificates.configMap }}
    items: {{ toJson $items }}
  {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "harbor-scanner.volumeMounts" -}}
- {name: data, mountPath: /var/lib/scanner}
{{- if include "harbor-scanner.hasSecretFiles" . }}
- {name: secrets, mountPath: /etc/harbor-scanner, readOnly: true}
{{- end }}
{{- if (include "harbor-scanner.tls" . | fromYaml).secret }}
- {name: tls, mountPath: /etc/pki/harbor-scanner, readOnly: true}
{{- end }}
{{- if include "harbor-scanner.copies" (list . "aqua") }}
- {name: programs, mountPath: /usr/local/bin/scannercli, subPath: scannercli, readOnly: true}
{{- end }}
{{- if include "harbor-scanner.copies" (list . "qualys") }}
- {name: programs, mountPath: /usr/local/bin/qscanner, subPath: qscanner, readOnly: true}
{{- end }}
{{- if include "harbor-scanner.vendors" . }}
- {name: tmp, mountPath: /tmp}
{{- end }}
{{- if include "harbor-scanner.aqua" . }}
- {name: reports, mountPath: {{ include "harbor-scanner.value" (list . "scanner.aqua.reportsDir") | default "/var/lib/scanner/reports" | quote }}}
- {name: aquascans, mountPath: /opt/aquascans}
{{- end }}
{{- if include "harbor-scanner.qualys" . }}
- {name: qscanner, mountPath: /usr/share/qscanner, readOnly: true}
{{- if .Values.qualys.nodeStorage }}
- {name: node-storage, mountPath: {{ include "harbor-scanner.nodeStorage" . }}, readOnly: true}
{{- end }}
{{- end }}
{{- if include "harbor-scanner.cachePersists" . }}
- {name: cache, mountPath: {{ include "harbor-scanner.cacheDir" . | quote }}}
{{- end }}
{{- if include "harbor-scanner.mountsCertificates" . }}
- {name: platform-certificates, mountPath: {{ dir (include "harbor-scanner.certPath" .) | quote }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* "true" if a vendor's program is copied out of the vendor's image; arguments: context, scanner. */}}
{{- define "harbor-scanner.copies" -}}
{{- if and (include (printf "harbor-scanner.%s" (last .)) (first .)) (get (get (first .).Values (last .)) "copyProgram") -}}
true
{{- end -}}
{{- end -}}
