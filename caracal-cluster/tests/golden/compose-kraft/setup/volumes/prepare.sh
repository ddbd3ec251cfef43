#!/bin/sh
# Gives each node's volume to the owner of its files, with what the node must find in it. One that has data keeps it.
# Called with the owner, then controllers that may begin empty although others have data.
set -eu
owner=$1
shift

is_new() {
    [ -e "$1/.unfinished" ] || [ -z "$(ls -A "$1")" ]
}

same() {
    [ "$(grep "^$1=" "$2/meta.properties")" = "$(grep -s "^$1=" "$3/meta.properties")" ]
}

lost= kept=
for to in /to/*; do
    node=${to##*/}
    if [ ! -e "/from/$node/meta.properties" ]; then
        continue
    elif ! is_new "$to" && { ! same cluster.id "/from/$node" "$to" || ! same node.id "/from/$node" "$to"; }; then
        echo "the volume of $node has data of another cluster or of nobody: move it away, or delete it by" \
            "docker compose down -v" >&2
        exit 1
    elif grep -qsxF "$node" "${0%/*}/controllers"; then
        if [ -e "$to/__cluster_metadata-0" ]; then
            kept="$kept $node"
        elif is_new "$to"; then
            case " $* " in
                *" $node "*) ;;
                *) lost="$lost $node" ;;
            esac
        fi
    fi
done
# Without its log it could help one to the lead that lacks what was committed.
if [ -n "$lost" ] && [ -n "$kept" ]; then
    echo "no data any more:$lost; still there:$kept. Restore the volume. Or, only while most controllers run:" \
        "docker compose run --rm volumes $owner$lost" >&2
    exit 1
fi

for to in /to/*; do
    if is_new "$to"; then
        : > "$to/.unfinished"
        cp -R "/from/${to##*/}/." "$to"
        chown -R "$owner" "$to"
        rm "$to/.unfinished"
    fi
done
echo "the volumes are there"
