{{/* Which scanners answer. The rule is that of the program: those of which anything is given, or else osv. */}}

{{- define "harbor-scanner.scanners" -}}
{{- if .Values.enabled -}}
{{- join "," .Values.enabled -}}
{{- else -}}
{{- $given := dict "aqua" "" "qualys" "" "osv" "" -}}
{{- range $text := concat (list .Values.aqua.version .Values.aqua.registry.username) (values .Values.scanner.aqua) -}}
{{- if include "harbor-scanner.asText" $text -}}
{{- $_ := set $given "aqua" "true" -}}
{{- end -}}
{{- end -}}
{{- range $text := append (values (default dict .Values.scannerArgs)) .Values.helmInstallationPath -}}
{{- if include "harbor-scanner.asText" $text -}}
{{- $_ := set $given "qualys" "true" -}}
{{- end -}}
{{- end -}}
{{- range $name := concat (keys .Values.settings) (keys .Values.secretSettings) (keys .Values.settingsFromSecrets) -}}
{{- if regexMatch "^SCANNER_(AQUA|CLI)_" $name -}}
{{- $_ := set $given "aqua" "true" -}}
{{- else if regexMatch "^(SCANNER_)?QUALYS_" $name -}}
{{- $_ := set $given "qualys" "true" -}}
{{- else if regexMatch "^SCANNER_OSV_" $name -}}
{{- $_ := set $given "osv" "true" -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range $name := list "aqua" "qualys" "osv" -}}
{{- if get $given $name -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- default (list "osv") $names | join "," -}}
{{- end -}}
{{- end -}}

{{/* The scanner that also answers at the root path; its vendor's defaults hold where the two vendors' differ. */}}
{{- define "harbor-scanner.primary" -}}
{{- include "harbor-scanner.scanners" . | splitList "," | first -}}
{{- end -}}

{{- define "harbor-scanner.aqua" -}}
{{- if has "aqua" (include "harbor-scanner.scanners" . | splitList ",") -}}
true
{{- end -}}
{{- end -}}

{{- define "harbor-scanner.qualys" -}}
{{- if has "qualys" (include "harbor-scanner.scanners" . | splitList ",") -}}
true
{{- end -}}
{{- end -}}

{{/* "true" if a vendor's program runs, of which nobody knows whether it keeps to TMPDIR. */}}
{{- define "harbor-scanner.vendors" -}}
{{- or (include "harbor-scanner.aqua" .) (include "harbor-scanner.qualys" .) -}}
{{- end -}}

{{/* The program that is copied out of Aqua's image, and its image. */}}
{{- define "harbor-scanner.aquaImage" -}}
{{- printf "%s/scanner:%s" .Values.aqua.registry.server (include "harbor-scanner.value" (list . "aqua.version")) -}}
{{- end -}}

{{- define "harbor-scanner.qualysImage" -}}
{{- $image := .Values.qualys.image -}}
{{- printf "%s/%s:%s" $image.registry $image.repository (include "harbor-scanner.asText" $image.tag) -}}
{{- end -}}

{{/* Where the node's container runtime keeps its layers. */}}
{{- define "harbor-scanner.nodeStorage" -}}
{{- get (dict "containerd" "/var/lib/containerd" "docker" "/var/lib/docker") .Values.qualys.runtime -}}
{{- end -}}

{{- define "harbor-scanner.storageDriver" -}}
{{- if .Values.qualys.nodeStorage -}}
{{- get (dict "containerd" "containerd-overlayfs" "docker" "docker-overlay2") .Values.qualys.runtime -}}
{{- else -}}
none
{{- end -}}
{{- end -}}
