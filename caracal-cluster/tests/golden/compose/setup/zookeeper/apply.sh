#!/bin/sh
# Carries out commands for ZooKeeper from a file and looks whether every node is there.
set -u
rm -f /tmp/done
folder=$(dirname "$0")
java "@$folder/java.args" < "$folder/$1" > /tmp/said 2>&1
failed=0
for path in $(sed -n 's/^create \([^ ]*\) .*/\1/p' "$folder/$1"); do
    if ! grep -qxF -e "Created $path" -e "Node already exists: $path" /tmp/said; then
        echo "not there: $path" >&2
        failed=1
    fi
done
if [ "$failed" -ne 0 ]; then
    cat /tmp/said >&2
    exit 1
fi
echo "everything of $1 is there"
touch /tmp/done
if [ "${2:-}" = stay ]; then
    exec sleep infinity
fi
