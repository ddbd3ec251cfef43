#!/bin/sh
# Gives each node's volume to the owner of its files, with what the node must find in it. One that has data keeps it.
set -eu
for to in /to/*; do
    if [ -z "$(ls -A "$to")" ]; then
        cp -R "/from/${to##*/}/." "$to"
        chown -R "$1" "$to"
    fi
done
echo "the volumes are there"
