#!/usr/bin/env bash
# What `cargo xtask bench up` compares with: the same seven JVMs with the same files, one stage after the
# other, each waited for. Everything that it needs comes by its environment (xtask/src/bench/up.rs).
set -euo pipefail

DEADLINE=$((SECONDS + 600))

fail() {
    echo "up.sh: $*" >&2
    exit 1
}

in_time() {
    [ "$SECONDS" -lt "$DEADLINE" ] || fail "waited too long for $*"
    sleep 0.1
}

# The marks are what `down` knows its processes by.
start() {
    local node=$1
    cd "$NODES/$node"
    env -i PATH="$PATH" HOME="$HOME" \
        "$JAVA" "-Dcaracal.cluster.id=$CLUSTER_ID" "-Dcaracal.node=$node" "@$NODES/$node/config/node.args" \
        < /dev/null >> logs/console.log 2>&1 &
    cd "$OLDPWD"
}

await_port() {
    local host=${1%:*} port=${1##*:}
    until (exec 3<> "/dev/tcp/$host/$port") 2> /dev/null; do
        in_time "port $1"
    done
}

stage() {
    local entry port
    for entry in "$@"; do
        start "${entry%%=*}"
    done
    for entry in "$@"; do
        for port in $(tr , ' ' <<< "${entry#*=}"); do
            await_port "$port"
        done
    done
}

# A port that is open does not serve yet: the step is tried again until it does.
step() {
    until "$XTASK" bench-step "$1" --name "$NAME" > /dev/null 2>> "$NODES/bench-step.log"; do
        in_time "$1 (see $NODES/bench-step.log)"
    done
}

# shellcheck disable=SC2086 # lists of words
stage $ZOOKEEPERS
step users
# shellcheck disable=SC2086
stage $BROKERS
step acls-topics
start "${REGISTRY%%=*}"
until curl --silent --fail --max-time 2 --output /dev/null "$REGISTRY_URL/subjects"; do
    in_time "the registry at $REGISTRY_URL"
done
step round-trip
