{{/* The template of a pod, the same for a StatefulSet and a Deployment. */}}

{{- define "harbor-scanner.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "harbor-scanner.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- if not .Values.openshift }}
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end -}}

{{- define "harbor-scanner.pullSecrets" -}}
{{- $names := .Values.imagePullSecrets -}}
{{- if include "harbor-scanner.registrySecret" . -}}
{{- $names = append $names (include "harbor-scanner.registrySecret" .) -}}
{{- end -}}
{{- range $names }}
- name: {{ . }}
{{- end }}
{{- end -}}

{{/* Name of the Secret with the account for Aqua's registry, if there is one. */}}
{{- define "harbor-scanner.registrySecret" -}}
{{- if and (include "harbor-scanner.aqua" .) .Values.aqua.registry.username -}}
{{- printf "%s-registry" (include "harbor-scanner.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/*
A container that copies a vendor's program; arguments: context, name, image, pull policy, path. It runs again when its
node was restarted, and then finds its own copy, which may be read-only: hence -f.
*/}}
{{- define "harbor-scanner.copy" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
- name: {{ $name }}
  image: {{ index . 2 | quote }}
  imagePullPolicy: {{ index . 3 }}
  command: [cp]
  args: [-f, {{ index . 4 | quote }}, /programs/{{ $name }}]
  securityContext:
    {{- include "harbor-scanner.containerSecurity" $root | nindent 4 }}
  {{- with $root.Values.initResources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - {name: programs, mountPath: /programs}
{{- end -}}

{{- define "harbor-scanner.environment" -}}
{{- $logins := include "harbor-scanner.loginSettings" . | fromJson -}}
{{- range $name, $text := include "harbor-scanner.plainSettings" . | fromJson }}
- name: {{ $name }}
  {{- if hasKey $logins $name }}
  valueFrom:
    secretKeyRef: {name: {{ include "harbor-scanner.fullname" $ }}, key: {{ $name }}}
  {{- else }}
  value: {{ $text | quote }}
  {{- end }}
{{- end }}
{{- range $name, $_ := omit (include "harbor-scanner.secretSources" . | fromJson) "QUALYS_ACCESS_TOKEN" }}
- name: {{ $name }}_FILE
  value: /etc/harbor-scanner/{{ $name }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Arguments: context, path. Kubernetes has no certificate to show, where the service wants one of its clients. */}}
{{- define "harbor-scanner.probe" -}}
{{- if hasKey (first .).Values.settings "SCANNER_API_CLIENT_CAS" -}}
exec:
  command: [harbor-scanner, healthy]
timeoutSeconds: 10
{{- else -}}
httpGet:
  path: {{ last . }}
  port: api
  scheme: {{ include "harbor-scanner.scheme" (first .) | upper }}
timeoutSeconds: 5
{{- end -}}
{{- end -}}

{{- define "harbor-scanner.pod" -}}
metadata:
  labels:
    {{- include "harbor-scanner.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/component: scanner
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $checksum := include "harbor-scanner.secretChecksum" . }}
  {{- if or $checksum .Values.podAnnotations }}
  annotations:
    {{- with $checksum }}
    harbor-scanner/secrets: {{ . }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  serviceAccountName: {{ include "harbor-scanner.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.shutdownGraceSeconds 30 }}
  securityContext:
    {{- include "harbor-scanner.podSecurity" . | nindent 4 }}
  {{- with include "harbor-scanner.pullSecrets" . }}
  imagePullSecrets:
    {{- . | nindent 4 }}
  {{- end }}
  {{- if or (include "harbor-scanner.copies" (list . "aqua")) (include "harbor-scanner.copies" (list . "qualys")) }}
  initContainers:
    {{- if include "harbor-scanner.copies" (list . "aqua") }}
    {{- include "harbor-scanner.copy" (list . "scannercli" (include "harbor-scanner.aquaImage" .) .Values.aqua.image.pullPolicy "/opt/aquasec/scannercli") | nindent 4 }}
    {{- end }}
    {{- if include "harbor-scanner.copies" (list . "qualys") }}
    {{- include "harbor-scanner.copy" (list . "qscanner" (include "harbor-scanner.qualysImage" .) .Values.qualys.image.pullPolicy .Values.qualys.program) | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: main
      image: {{ include "harbor-scanner.image" . | quote }}
      imagePullPolicy: {{ .Values.scanner.image.pullPolicy }}
      securityContext:
        {{- include "harbor-scanner.containerSecurity" . | nindent 8 }}
        {{- if and .Values.qualys.nodeStorage (include "harbor-scanner.qualys" .) }}
          # Only root may read the storage of a node, whose files belong to any user.
          add: [DAC_READ_SEARCH]
        runAsUser: 0
        runAsNonRoot: false
        {{- end }}
      env:
        {{- include "harbor-scanner.environment" . | trim | nindent 8 }}
      ports:
        - {name: api, containerPort: {{ include "harbor-scanner.containerPort" . }}}
      # At most ten minutes: a store with a long queue is read first.
      startupProbe:
        {{- include "harbor-scanner.probe" (list . "/probe/healthy") | nindent 8 }}
        periodSeconds: 5
        failureThreshold: 120
      livenessProbe:
        {{- include "harbor-scanner.probe" (list . "/probe/healthy") | nindent 8 }}
        periodSeconds: 10
        failureThreshold: 6
      readinessProbe:
        {{- include "harbor-scanner.probe" (list . "/probe/ready") | nindent 8 }}
        periodSeconds: 5
        failureThreshold: 3
      # Harbor fails a scan at the first request that is refused: go on until nobody is sent here any more.
      lifecycle:
        preStop:
          exec:
            command: [sleep, "5"]
      {{- with .Values.mainResources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- include "harbor-scanner.volumeMounts" . | nindent 8 }}
  {{- with include "harbor-scanner.volumes" . | trim }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "harbor-scanner.selectorLabels" . | nindent 10 }}
          app.kubernetes.io/component: scanner
    {{- end }}
{{- end -}}
