#!/bin/sh
# Makes the topics that are not there, two at a time; one that is there stays as it is.
set -u
rm -f /tmp/done
folder=$(dirname "$0")

# Calls Kafka's tool until it succeeds: FILE with its arguments, FILE for what it prints.
tool() {
    left=20
    until java "@$folder/java.args" "@$folder/$1" > "$2" 2> "$2.errors" < /dev/null; do
        left=$((left - 1))
        if [ "$left" -eq 0 ]; then
            echo "given up: $1" >&2
            cat "$2" "$2.errors" >&2
            return 1
        fi
        sleep 1
    done
}

# Makes every second topic of those that are missing.
lane() {
    sed -n "$1" /tmp/missing | while read -r topic; do
        tool "topics/$topic.args" "/tmp/made.$topic" || exit 1
        echo "made: $topic"
    done
}

tool list.args /tmp/there || exit 1
while read -r topic; do
    grep -qxF -e "$topic" /tmp/there || echo "$topic"
done < "$folder/topics.txt" > /tmp/missing
lane 'p;n' &
odd=$!
lane 'n;p' &
even=$!
wait "$odd" && wait "$even" || exit 1
echo "every topic is there"
touch /tmp/done
if [ "${1:-}" = stay ]; then
    exec sleep infinity
fi
