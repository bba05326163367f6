# The Docker section of the Aqua adapter's README, as it stands there, but for what needs Docker. The paths are set before.
set -eu

export AQUA_VERSION="6.5"
export AQUA_CONSOLE_HOST="https://aqua-console:8443"
export AQUA_CONSOLE_USERNAME=harbor_scanner
export AQUA_CONSOLE_PASSWORD=c0nsole-secret

export HARBOR_SCANNER_AQUA_VERSION="0.14.0"

# 2. Create the config and data directories for the adapter service.
mkdir -p $HARBOR_HOME/common/config/aqua-adapter
mkdir -p $HARBOR_DATA/aqua-adapter/reports
mkdir -p $HARBOR_DATA/aqua-adapter/opt

# 4. Generate certificate files.
openssl genrsa -out $HARBOR_PKI_DIR/aqua_adapter.key 4096

openssl req -sha512 -new \
  -subj "/C=CN/ST=Beijing/L=Beijing/O=example/OU=Personal/CN=aqua-adapter" \
  -key $HARBOR_PKI_DIR/aqua_adapter.key \
  -out $HARBOR_PKI_DIR/aqua_adapter.csr

cat << EOF > $HARBOR_PKI_DIR/aqua_adapter_v3.ext
authorityKeyIdentifier=keyid,issuer
basicConstraints=CA:FALSE
keyUsage = digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment
extendedKeyUsage = serverAuth
subjectAltName = @alt_names

[alt_names]
DNS.1=aqua-adapter
EOF

openssl x509 -req -sha512 -days 365 \
  -extfile $HARBOR_PKI_DIR/aqua_adapter_v3.ext \
  -CA $HARBOR_PKI_DIR/harbor_internal_ca.crt \
  -CAkey $HARBOR_PKI_DIR/harbor_internal_ca.key \
  -CAcreateserial \
  -in $HARBOR_PKI_DIR/aqua_adapter.csr \
  -out $HARBOR_PKI_DIR/aqua_adapter.crt

# 5. Create the env file to configure the adapter service:
cat << EOF > $HARBOR_HOME/common/config/aqua-adapter/env
SCANNER_LOG_LEVEL=info
SCANNER_API_ADDR=:8443
SCANNER_API_TLS_KEY=/etc/pki/aqua_adapter.key
SCANNER_API_TLS_CERTIFICATE=/etc/pki/aqua_adapter.crt
SCANNER_AQUA_HOST=$AQUA_CONSOLE_HOST
SCANNER_AQUA_USERNAME=$AQUA_CONSOLE_USERNAME
SCANNER_AQUA_PASSWORD=$AQUA_CONSOLE_PASSWORD
SCANNER_AQUA_REGISTRY=Harbor
SCANNER_AQUA_USE_IMAGE_TAG=false
SCANNER_AQUA_REPORTS_DIR=/var/lib/scanner/reports
SCANNER_REDIS_URL=redis://redis:6379
EOF

# 6. Create docker-compose.override.yml file in the $HARBOR_HOME directory to install the adapter service:
cat << EOF > $HARBOR_HOME/docker-compose.override.yml
version: '2.3'
services:
  aqua-adapter:
    networks:
      - harbor
    container_name: aqua-adapter
    image: docker.io/aquasec/harbor-scanner-aqua:$HARBOR_SCANNER_AQUA_VERSION
    restart: always
    cap_drop:
      - ALL
    depends_on:
      - redis
    env_file:
      $HARBOR_HOME/common/config/aqua-adapter/env
    volumes:
      - type: bind
        source: $HARBOR_HOME/common/config/aqua-adapter/scannercli
        target: /usr/local/bin/scannercli
      - type: bind
        source: $HARBOR_PKI_DIR/aqua_adapter.key
        target: /etc/pki/aqua_adapter.key
      - type: bind
        source: $HARBOR_PKI_DIR/aqua_adapter.crt
        target: /etc/pki/aqua_adapter.crt
      - type: bind
        source: $HARBOR_DATA/aqua-adapter/reports
        target: /var/lib/scanner/reports
      - type: bind
        source: $HARBOR_DATA/aqua-adapter/opt
        target: /opt/aquascans
    logging:
      driver: "syslog"
      options:
        syslog-address: "tcp://127.0.0.1:1514"
        tag: "aqua-scanner"
EOF
