{{/*
From values to settings of the program (docs/configuration.md). What is empty is not set, so that the program's own
default holds.
*/}}

{{/* Settings that anybody may see, with the values that give them. */}}
{{- define "harbor-scanner.plainTable" -}}
SCANNER_LOG_LEVEL: service.logLevel scanner.logLevel
SCANNER_WORKERS: service.workerThreads
SCANNER_API_READ_TIMEOUT: scanner.api.readTimeout
SCANNER_API_WRITE_TIMEOUT: scanner.api.writeTimeout
SCANNER_API_IDLE_TIMEOUT: scanner.api.idleTimeout
SCANNER_STORE_REDIS_NAMESPACE: scanner.store.redisNamespace
SCANNER_STORE_REDIS_SCAN_JOB_TTL: scanner.store.redisScanJobTTL
SCANNER_REDIS_POOL_MAX_ACTIVE: redis.maxActiveConnections scanner.redis.poolMaxActive scanner.store.redisPoolMaxActive
SCANNER_REDIS_POOL_MAX_IDLE: redis.maxIdleConnections scanner.redis.poolMaxIdle scanner.store.redisPoolMaxIdle
SCANNER_REDIS_POOL_IDLE_TIMEOUT: scanner.redis.poolIdleTimeout
SCANNER_REDIS_POOL_CONNECTION_TIMEOUT: scanner.redis.poolConnectionTimeout
SCANNER_REDIS_POOL_READ_TIMEOUT: scanner.redis.poolReadTimeout
SCANNER_REDIS_POOL_WRITE_TIMEOUT: scanner.redis.poolWriteTimeout
SCANNER_AQUA_HOST: scanner.aqua.host
SCANNER_AQUA_REGISTRY: scanner.aqua.registry
SCANNER_AQUA_REPORTS_DIR: scanner.aqua.reportsDir
SCANNER_AQUA_USE_IMAGE_TAG: scanner.aqua.useImageTag
SCANNER_CLI_NO_VERIFY: scanner.aqua.scannerCLINoVerify
SCANNER_CLI_SHOW_NEGLIGIBLE: scanner.aqua.scannerCLIShowNegligible
SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS: scanner.aqua.scannerCLIOverrideRegistryCredentials
SCANNER_CLI_DIRECT_CC: scanner.aqua.scannerCLIDirectCC
SCANNER_CLI_REGISTER_IMAGES: scanner.aqua.scannerCLIRegisterImages
{{- end -}}

{{/* Settings that are secret, with the values that give them. Those without one are given by `secretSettings`. */}}
{{- define "harbor-scanner.secretTable" -}}
SCANNER_REDIS_URL: redis.url scanner.redis.poolURL scanner.store.redisURL
SCANNER_REDIS_SENTINEL_PASSWORD: ""
SCANNER_STORE_KEY: ""
SCANNER_API_AUTH_BASIC: ""
SCANNER_API_AUTH_TOKENS: ""
SCANNER_AQUA_USERNAME: scanner.aqua.username
SCANNER_AQUA_PASSWORD: scanner.aqua.password
SCANNER_AQUA_TOKEN: scanner.aqua.token
QUALYS_ACCESS_TOKEN: scannerArgs.access-token
SCANNER_QUALYS_PROXY: scannerArgs.proxy
{{- end -}}

{{/* Keys of scannerArgs that the program reads, but for secret ones. Others do not reach it: they might be secret. */}}
{{- define "harbor-scanner.scannerArgs" -}}
log-level cache cache-dir pod gateway-url skip-verify-tls cert-path offline-scan scan-timeout max-network-retries network-retry-wait-min cache-cleanup-duration-threshold cache-cleanup-frequency enable-cache-cleanup storage-driver narrow-report
{{- end -}}

{{/* "true" if a setting is of no use, for its scanner does not answer. Arguments: context, name. */}}
{{- define "harbor-scanner.idle" -}}
{{- $aqua := and (regexMatch "^SCANNER_(AQUA|CLI)_" (last .)) (not (include "harbor-scanner.aqua" (first .))) -}}
{{- $qualys := and (regexMatch "^(SCANNER_)?QUALYS_" (last .)) (not (include "harbor-scanner.qualys" (first .))) -}}
{{- if or $aqua $qualys -}}
true
{{- end -}}
{{- end -}}

{{/* What the chart itself sets from values, as JSON by name. */}}
{{- define "harbor-scanner.ownSettings" -}}
{{- $set := dict -}}
{{- range $name, $paths := include "harbor-scanner.plainTable" . | fromYaml -}}
{{- if not (include "harbor-scanner.idle" (list $ $name)) -}}
{{- $_ := set $set $name (include "harbor-scanner.firstValue" (prepend (splitList " " $paths) $)) -}}
{{- end -}}
{{- end -}}
{{- $limit := include "harbor-scanner.value" (list . "service.maxTimeout") -}}
{{- range list "API_READ" "API_WRITE" "REDIS_POOL_CONNECTION" "REDIS_POOL_READ" "REDIS_POOL_WRITE" -}}
{{- $name := printf "SCANNER_%s_TIMEOUT" . -}}
{{- $_ := set $set $name (default $limit (get $set $name)) -}}
{{- end -}}
{{- $hours := include "harbor-scanner.value" (list . "service.scanJobTTLHour") -}}
{{- if $hours -}}
{{- $ttl := ternary (printf "%sh" $hours) $hours (regexMatch "^[0-9.]+$" $hours) -}}
{{- $other := get $set "SCANNER_STORE_REDIS_SCAN_JOB_TTL" -}}
{{- if and $other (ne $other $ttl) -}}
{{- fail "service.scanJobTTLHour and scanner.store.redisScanJobTTL are two names of one thing and disagree: keep one of them" -}}
{{- end -}}
{{- $_ := set $set "SCANNER_STORE_REDIS_SCAN_JOB_TTL" $ttl -}}
{{- end -}}
{{- $_ := set $set "SCANNER_ENABLED" (include "harbor-scanner.scanners" .) -}}
{{- $_ := set $set "SCANNER_API_ADDR" (printf ":%s" (include "harbor-scanner.containerPort" .)) -}}
{{- $_ := set $set "SCANNER_SHUTDOWN_GRACE" (printf "%ds" (int .Values.shutdownGraceSeconds)) -}}
{{- $tls := include "harbor-scanner.tls" . | fromYaml -}}
{{- $_ := set $set "SCANNER_API_TLS_ENABLED" (ternary "true" "false" $tls.on) -}}
{{- if $tls.on -}}
{{- $_ := set $set "SCANNER_API_TLS_CERTIFICATE" $tls.certificate -}}
{{- $_ := set $set "SCANNER_API_TLS_KEY" $tls.key -}}
{{- end -}}
{{- range $name, $text := $set -}}
{{- if eq $text "" -}}
{{- $_ := unset $set $name -}}
{{- end -}}
{{- end -}}
{{- toJson $set -}}
{{- end -}}

{{/* All settings that anybody may see, as JSON by name. */}}
{{- define "harbor-scanner.plainSettings" -}}
{{- $set := include "harbor-scanner.ownSettings" . | fromJson -}}
{{- range $name, $value := .Values.settings -}}
{{- $_ := set $set $name (include "harbor-scanner.asText" $value) -}}
{{- end -}}
{{- toJson $set -}}
{{- end -}}

{{/* Plain settings whose URL holds a login, as JSON by name: these are kept with the secrets. */}}
{{- define "harbor-scanner.loginSettings" -}}
{{- $set := dict -}}
{{- range $name, $text := include "harbor-scanner.plainSettings" . | fromJson -}}
{{- if regexMatch "://[^/?#]*@" $text -}}
{{- $_ := set $set $name $text -}}
{{- end -}}
{{- end -}}
{{- toJson $set -}}
{{- end -}}

{{/* Secret settings that values give, as JSON by name. */}}
{{- define "harbor-scanner.secretSettings" -}}
{{- $set := dict -}}
{{- range $name, $paths := include "harbor-scanner.secretTable" . | fromYaml -}}
{{- $text := include "harbor-scanner.value" (list $ (printf "secretSettings.%s" $name)) -}}
{{- if $paths -}}
{{- $text = include "harbor-scanner.firstValue" (concat (list $ (printf "secretSettings.%s" $name)) (splitList " " $paths)) -}}
{{- end -}}
{{- if and $text (not (include "harbor-scanner.idle" (list $ $name))) -}}
{{- $_ := set $set $name $text -}}
{{- end -}}
{{- end -}}
{{- toJson $set -}}
{{- end -}}

{{/* Secret settings and the Secret and key that hold them, our own or another, as JSON by name. */}}
{{- define "harbor-scanner.secretSources" -}}
{{- $sources := dict -}}
{{- range $name, $text := include "harbor-scanner.secretSettings" . | fromJson -}}
{{- $_ := set $sources $name (dict "name" (include "harbor-scanner.fullname" $) "key" $name) -}}
{{- end -}}
{{- range $name, $source := .Values.settingsFromSecrets -}}
{{- if not (include "harbor-scanner.idle" (list $ $name)) -}}
{{- $_ := set $sources $name $source -}}
{{- end -}}
{{- end -}}
{{- toJson $sources -}}
{{- end -}}

{{/* "true" if jobs are kept in a Redis, not in the embedded store. */}}
{{- define "harbor-scanner.hasRedis" -}}
{{- if hasKey (include "harbor-scanner.secretSources" . | fromJson) "SCANNER_REDIS_URL" -}}
true
{{- end -}}
{{- end -}}

{{/*
What changes when secrets do that the program reads only at its start. It is made by scrypt (derivePassword), for a
plain hash of a password can be guessed at by whoever may read pods.
*/}}
{{- define "harbor-scanner.secretChecksum" -}}
{{- $set := dict -}}
{{- range $name, $text := include "harbor-scanner.secretSettings" . | fromJson -}}
{{- if not (regexMatch "^(SCANNER_)?(AQUA|CLI|QUALYS)_" $name) -}}
{{- $_ := set $set $name $text -}}
{{- end -}}
{{- end -}}
{{- range $name, $text := include "harbor-scanner.loginSettings" . | fromJson -}}
{{- $_ := set $set $name $text -}}
{{- end -}}
{{- if $set -}}
{{- derivePassword 1 "maximum" (toJson $set) .Release.Name .Release.Namespace | sha256sum | trunc 32 -}}
{{- end -}}
{{- end -}}
