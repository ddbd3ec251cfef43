#!/bin/bash
# Writes the compatibility level and the schemas into the registry at HOST PORT, then stays. An answer to a write proves
# the registry and its brokers: it comes back when it went through Kafka.
set -u
rm -f /tmp/done
folder=$(dirname "$0")
for request in "$folder"/write/*.http; do
    for ((left = 60; ; left--)); do
        if bash "$folder/http.sh" "$1" "$2" "$request"; then
            break
        fi
        if ((left == 0)); then
            echo "given up: ${request##*/}" >&2
            exit 1
        fi
        sleep 1
    done
    echo "answered: ${request##*/}"
done
touch /tmp/done
exec sleep infinity
