#!/bin/sh
# Make a TLS certificate for a scanner beside Harbor, signed by Harbor's internal CA: see docs/docker.md.
set -eu

usage() {
    cat <<'END'
Usage: HARBOR_PKI_DIR=DIR make-certs.sh [--subject SUBJECT] [NAME]

Makes in HARBOR_PKI_DIR a key and a certificate for the host NAME (aqua-adapter without it), signed by Harbor's internal
CA (harbor_internal_ca.crt and harbor_internal_ca.key there) for 365 days, and checks the result. For aqua-adapter the
files are aqua_adapter.key, aqua_adapter.crt, aqua_adapter.csr and aqua_adapter_v3.ext. It overwrites nothing.

  --subject SUBJECT   what stands before the common name, such as /C=DE/O=Example/OU=IT
END
}

fail() {
    printf 'make-certs.sh: %s\n' "$@" >&2
    exit 1
}

subject=
name=
while [ "$#" -gt 0 ]; do
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --subject)
            [ "$#" -gt 1 ] || { usage >&2 && exit 2; }
            subject=${2%/}
            shift
            ;;
        -*)
            usage >&2
            exit 2
            ;;
        *)
            [ -z "$name" ] || { usage >&2 && exit 2; }
            name=$1
            ;;
    esac
    shift
done
name=${name:-aqua-adapter}
case $name in
    *[!a-z0-9.-]* | -* | .*) fail "'$name' is no host name: use small letters, digits, hyphens and dots." ;;
    *[a-z]*) ;;
    *) fail "'$name' is no host name, and Harbor must reach the scanner by one." ;;
esac
case $subject in
    '' | /*=*) ;;
    *) fail "The subject '$subject' must be written as /C=DE/O=Example." ;;
esac
command -v openssl >/dev/null || fail "There is no openssl on PATH." "Install the package openssl."

pki=${HARBOR_PKI_DIR:-}
[ "$pki" ] || fail "HARBOR_PKI_DIR is not set." "Export it: where harbor_internal_ca.crt is, such as /etc/harbor/pki/internal."
# A path that begins with a hyphen would be taken for an option.
case $pki in -*) pki=./$pki ;; *) ;; esac
ca=$pki/harbor_internal_ca
for file in "$ca.crt" "$ca.key"; do
    [ -r "$file" ] || fail "$file is not there, or not readable for this user." \
        "HARBOR_PKI_DIR must hold the CA of Harbor's internal TLS, which Harbor's 'prepare gencert' makes."
done
! grep -q ENCRYPTED "$ca.key" || fail "$ca.key has a passphrase." "Put the key there without one, as Harbor makes it."
base=$(printf '%s' "$name" | tr - _)
key=$base.key crt=$base.crt csr=$base.csr ext=${base}_v3.ext
for file in "$key" "$crt" "$csr" "$ext"; do
    [ ! -e "$pki/$file" ] && [ ! -L "$pki/$file" ] || fail "$pki/$file exists already, and nothing was changed." \
        "To renew, move $key, $crt, $csr and $ext away first."
done
[ -w "$pki" ] || fail "$pki is not writable for this user." "Run this as the owner of Harbor's certificates, mostly root."

# Everything is made beside its place and gets there only when it is complete and checked.
umask 077
work=$(mktemp -d "$pki/.make-certs.XXXXXX") || fail "Nothing can be written to $pki."
placed=
clean() {
    status=$?
    trap - EXIT
    rm -rf "$work"
    if [ "$status" -ne 0 ]; then
        for file in $placed; do rm -f "$pki/$file"; done
    fi
    exit "$status"
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

try() { # MESSAGE COMMAND...: run it quietly; if it fails, tell what openssl said
    message=$1
    shift
    "$@" >"$work/said" 2>&1 || fail "$message" "$(cat "$work/said")"
}
public_key_of() { openssl pkey -in "$1" -pubout; }
public_key_in() { openssl x509 -in "$1" -noout -pubkey; }
same() { [ "$(public_key_of "$1")" = "$(public_key_in "$2")" ]; }

try "$ca.crt is no certificate." openssl x509 -in "$ca.crt" -noout
try "$ca.key is no private key." openssl pkey -in "$ca.key" -noout
try "$ca.crt has expired; renew Harbor's internal certificates first." openssl x509 -in "$ca.crt" -noout -checkend 0
same "$ca.key" "$ca.crt" || fail "$ca.key does not belong to $ca.crt." "Put the key of Harbor's internal CA there."

cat >"$work/req.cnf" <<'END'
[req]
distinguished_name = dn
string_mask = utf8only
[dn]
END
cat >"$work/$ext" <<END
authorityKeyIdentifier=keyid,issuer
basicConstraints=CA:FALSE
keyUsage = digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment
extendedKeyUsage = serverAuth
subjectAltName = @alt_names

[alt_names]
DNS.1=$name
END
try "The key could not be made." openssl genrsa -out "$work/$key" 4096
try "The request could not be made; is the subject right?" \
    openssl req -sha512 -new -utf8 -config "$work/req.cnf" -subj "$subject/CN=$name" -key "$work/$key" -out "$work/$csr"
! grep -q "Skipping unknown" "$work/said" || fail "The subject $subject holds an attribute that openssl does not know."
# With a random serial number, whose file stays with us: none is needed beside the CA.
try "The certificate could not be signed." \
    openssl x509 -req -sha512 -days 365 -extfile "$work/$ext" -CA "$ca.crt" -CAkey "$ca.key" \
    -CAcreateserial -CAserial "$work/serial" -in "$work/$csr" -out "$work/$crt"

try "The new certificate does not hold for $name under $ca.crt." \
    openssl verify -partial_chain -purpose sslserver -verify_hostname "$name" -CAfile "$ca.crt" "$work/$crt"
same "$work/$key" "$work/$crt" || fail "The new certificate does not belong to its key."
openssl x509 -in "$work/$crt" -noout -text | grep -q "DNS:$name\$" || fail "The new certificate lacks the name $name."
openssl x509 -in "$work/$crt" -noout -checkend $((364 * 86400)) >/dev/null || fail "The new certificate ends too early."

chmod 600 "$work/$key"
chmod 644 "$work/$crt" "$work/$csr" "$work/$ext"
given=
if [ "$(id -u)" -eq 0 ] && chown 1000:1000 "$work/$key" "$work/$crt"; then given=yes; fi
for file in "$key" "$crt" "$csr" "$ext"; do
    # Unlike mv, ln refuses to replace what somebody made meanwhile.
    try "$pki/$file cannot be put in its place." ln "$work/$file" "$pki/$file"
    placed="$placed $file"
done

end=$(openssl x509 -in "$pki/$crt" -noout -enddate)
cat <<END
Made and checked, for https://$name until ${end#*=}:
  $pki/$key   private key, mode 600
  $pki/$crt   certificate, signed by $ca.crt
  $pki/$csr
  $pki/$ext
END
if ! openssl x509 -in "$ca.crt" -noout -checkend $((365 * 86400)) >/dev/null; then
    end=$(openssl x509 -in "$ca.crt" -noout -enddate)
    echo "Mind that the CA itself ends earlier: ${end#*=}."
fi
if [ "$given" ]; then
    echo "Key and certificate belong to user 1000, as which the scanner runs."
else
    echo "The scanner runs as user 1000, who must be able to read both. As root, run:"
    echo "  chown 1000:1000 '$pki/$key' '$pki/$crt'"
fi
echo "Next: start the scanner with both. It takes renewed ones when its container is started again."
