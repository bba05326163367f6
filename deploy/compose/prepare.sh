#!/bin/sh
# Prepare a Harbor that its installer made for one of our scanners beside it: see docs/docker.md.
set -eu

usage() {
    cat <<'END'
Usage: HARBOR_HOME=DIR HARBOR_DATA=DIR [HARBOR_PKI_DIR=DIR] prepare.sh aqua|qualys|osv

Makes the directories of the scanner, puts its Compose file and its settings beside Harbor's docker-compose.yml, and
gives what the scanner reads or writes to user and group 1000, as which it runs. What is there already is kept as it
is: run it again whenever a file was added, and it tells what is still missing.

  HARBOR_HOME      where Harbor's docker-compose.yml is, such as /opt/harbor
  HARBOR_DATA      Harbor's data volume (data_volume in harbor.yml), such as /data
  HARBOR_PKI_DIR   certificates of Harbor's internal TLS, such as /etc/harbor/pki/internal; for aqua only, and not where
                   Harbor has no internal TLS
END
}

fail() {
    printf 'prepare.sh: %s\n' "$@" >&2
    exit 1
}

made() { printf 'made   %s\n' "$1"; }
kept() { printf 'kept   %s\n' "$1"; }

remind() { # LINE...
    [ "$left" ] || printf '\nLeft to do:\n'
    printf -- '- %s\n' "$1"
    shift
    [ "$#" -eq 0 ] || printf '  %s\n' "$@"
    left=yes
}
left=

directory() { # PATH MODE
    if [ -d "$1" ]; then
        kept "$1"
    else
        mkdir -m "$2" "$1"
        made "$1"
    fi
}

file() { # SOURCE TARGET MODE
    if [ -e "$2" ]; then
        kept "$2"
    else
        # Nobody may read it before its mode is right, and nothing half-written stays under its name.
        (umask 077 && cp "$1" "$2.new")
        chmod "$3" "$2.new"
        mv "$2.new" "$2"
        made "$2"
    fi
}

# Settings stay in directories of root, where nobody else can put anything. No link is followed: user 1000 may also be a
# person on this machine.
own() { # PATH...
    for path; do
        if [ "$(id -u)" -eq 0 ]; then
            chown -h 1000:1000 "$path"
            printf 'owner  1000:1000 %s\n' "$path"
        else
            chowns="${chowns}    chown -h 1000:1000 '$path'
"
        fi
    done
}
chowns=

own_files() { # PATH...: those that are files
    for candidate; do [ ! -f "$candidate" ] || own "$candidate"; done
}

variable() { # NAME VALUE: a line of .env, from which Compose fills in the paths of its files
    if ! grep -qs "^$1=" "$dotenv"; then
        [ -z "$(tail -c 1 "$dotenv" 2>&-)" ] || echo >>"$dotenv"
        printf '%s=%s\n' "$1" "$2" >>"$dotenv"
        made "$dotenv: $1=$2"
    elif grep -qxF "$1=$2" "$dotenv"; then
        kept "$dotenv: $1=$2"
    else
        fail "$dotenv says $(grep "^$1=" "$dotenv"), but here $1 is $2." "Make both the same and start again."
    fi
}

path_in() { # NAME VALUE
    [ "$2" ] || fail "$1 is not set." "Export it, with the path of your Harbor; prepare.sh --help tells more."
    case $2 in
        *[\$\'\"\\\#]*) fail "$1 is $2: Compose would read more into \$ ' \" \\ # than is meant." ;;
        /*) [ -d "$2" ] || fail "$1 is $2, which is no directory." "Export the path of your Harbor." ;;
        *) fail "$1 must be an absolute path, not $2." ;;
    esac
}

case ${1-} in
    aqua) name=aqua-adapter ;;
    qualys) name=qualys-scanner ;;
    osv) name=osv-adapter ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
scanner=$1
from=$(CDPATH="" cd -- "$(dirname -- "$0")" && pwd)

path_in HARBOR_HOME "${HARBOR_HOME-}"
path_in HARBOR_DATA "${HARBOR_DATA-}"
pki=
[ "$scanner" != aqua ] || pki=${HARBOR_PKI_DIR-}
[ -z "$pki" ] || path_in HARBOR_PKI_DIR "$pki"
[ -f "$HARBOR_HOME/docker-compose.yml" ] ||
    fail "There is no docker-compose.yml in $HARBOR_HOME." "Run Harbor's installer, or let HARBOR_HOME name its directory."

# Not below common/config: Harbor's `prepare` deletes all files there.
config=$HARBOR_HOME/$name
data=$HARBOR_DATA/$name
ours=$from/$scanner/docker-compose.override.yml
override=$HARBOR_HOME/docker-compose.override.yml
dotenv=$HARBOR_HOME/.env

variable HARBOR_DATA "$HARBOR_DATA"
directory "$config" 755
directory "$data" 700
own "$data"
case $scanner in
    aqua)
        [ -z "$pki" ] || variable HARBOR_PKI_DIR "$pki"
        directory "$data/reports" 700
        directory "$data/opt" 700
        own "$data/reports" "$data/opt"
        directory "$config/secrets" 755
        file /dev/null "$config/secrets/aqua-password" 600
        file "$from/aqua/env" "$config/env" 600
        [ ! -f "$config/scannercli" ] || chmod 755 "$config/scannercli"
        own_files "$config/scannercli" "$config/secrets/"*
        [ -z "$pki" ] || own_files "$pki/aqua_adapter.key" "$pki/aqua_adapter.crt"
        ;;
    qualys)
        directory "$config/accesstoken" 755
        file /dev/null "$config/accesstoken/token" 600
        file "$from/qualys/values.yaml" "$config/values.yaml" 600
        own_files "$config"/* "$config/accesstoken/token"
        ;;
    osv)
        directory "$config/secrets" 755
        file "$from/osv/env" "$config/env" 600
        own_files "$config/secrets/"*
        ;;
esac
file "$ours" "$override" 644

image=$(sed -n 's/^ *image: //p' "$ours")
if ! grep -q "^  $name:" "$override"; then
    remind "$override was there already: add to its services the one of $ours"
elif ! grep -qF "$image" "$override"; then
    remind "$override was there already, with another image: change it to $image"
fi
case $scanner in
    aqua)
        [ -f "$config/scannercli" ] || remind "put Aqua's scannercli at $config/scannercli"
        if ! grep -q ' /etc/pki/' "$override"; then
            : # HTTP
        elif [ -z "$pki" ]; then
            remind "export HARBOR_PKI_DIR, or, if Harbor has no internal TLS, have the scanner serve HTTP: remove the two mounts" \
                "of /etc/pki from $override," \
                "and in $config/env remove the lines of SCANNER_API_TLS_ and set SCANNER_API_ADDR=:8080"
        elif [ ! -f "$pki/aqua_adapter.crt" ]; then
            remind "make a certificate: $from/make-certs.sh"
        fi
        grep -Eq '^SCANNER_AQUA_(TOKEN|USERNAME)(_FILE)?=.' "$config/env" ||
            remind "set SCANNER_AQUA_HOST and SCANNER_AQUA_USERNAME in $config/env"
        [ -s "$config/secrets/aqua-password" ] || grep -Eq '^SCANNER_AQUA_(TOKEN|PASSWORD)=.' "$config/env" ||
            remind "write the password of that user to $config/secrets/aqua-password"
        ;;
    qualys)
        grep -Eq '^ *(pod|gateway-url): *[^ #]' "$config/values.yaml" ||
            remind "set the pod of your account in $config/values.yaml"
        [ -s "$config/accesstoken/token" ] || grep -Eq '^ *access-token: *[^ #]' "$config/values.yaml" ||
            remind "write the access token to $config/accesstoken/token"
        ;;
esac
if [ "$chowns" ]; then
    remind "as root, for this user cannot give files away:"
    printf '%s' "$chowns"
fi
if [ "$left" ]; then
    echo "Then run this again."
else
    printf '\nAll is there. Start it:  cd %s && docker compose up --detach\n' "$HARBOR_HOME"
fi
