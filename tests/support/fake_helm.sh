#!/bin/sh
# `helm` for commands of the documentation: what would be installed is rendered by the real Helm, and kept in OUT.
# The vendors' own charts are replaced by ours.
set -eu
command=$1
shift
case $command in
    repo) exit 0 ;;
    install | upgrade) ;;
    *) echo "helm $command is not for tests" >&2; exit 1 ;;
esac
release=""
chart=""
for argument; do
    shift
    case $argument in
        --install) continue ;;
        aqua/harbor-scanner-aqua | adapter-svc-helm-chart/qualys-harbor | deploy/helm/harbor-scanner) chart=$argument ;;
        *) if [ -z "$release" ]; then release=$argument; else set -- "$@" "$argument"; fi ;;
    esac
done
test -n "$chart" || { echo "no chart is named" >&2; exit 1; }
number=$(find "$OUT" -type f | wc -l)
"$HELM" template "$release" "$CHART" "$@" --kube-version 1.33 > "$OUT/$number.yaml"
