#!/usr/bin/env bash
# What `cargo xtask bench credentials` compares with: step 1 of the guide by openssl and keytool. Two
# authorities, 7 server and 5 client certificates (ECDSA P-256), each with a PEM bundle and with PKCS12 key
# and trust stores under a password of its own, as ours have. No SCRAM users: openssl cannot write Kafka's records, and leaving them out favours this
# script.
set -euo pipefail

umask 077
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

authority() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2> /dev/null
    openssl req -x509 -new -key "$1.key" -sha256 -days 3650 -subj "/O=Caracal/CN=$1" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" -out "$1.pem"
}

# name, authority, extended key usage
leaf() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2> /dev/null
    openssl req -new -key "$1.key" -sha256 -subj "/O=Caracal/CN=$1" -out "$1.csr"
    printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=%s\nkeyUsage=critical,digitalSignature\n' \
        "$1" "$3" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 365 -sha256 \
        -extfile "$1.ext" -out "$1.pem" 2> /dev/null
    cat "$1.key" "$1.pem" "$2.pem" > "$1.keystore.pem"
    cp "$2.pem" "$1.truststore.pem"
    openssl rand -hex 20 > "$1.password"
    openssl pkcs12 -export -in "$1.pem" -inkey "$1.key" -certfile "$2.pem" -name "$1" \
        -passout "file:$1.password" -out "$1.keystore.p12"
    keytool -importcert -noprompt -alias ca -file "$2.pem" -keystore "$1.truststore.p12" -storetype PKCS12 \
        -storepass:file "$1.password" > /dev/null 2>&1
}

authority data-ca
authority control-ca
for id in 1 2 3; do
    leaf "zookeeper-$id" control-ca serverAuth,clientAuth
    leaf "kafka-$id" data-ca serverAuth,clientAuth
done
leaf schema-registry data-ca serverAuth,clientAuth
for user in admin producer consumer registry-client broker-client; do
    leaf "$user" data-ca clientAuth
done
