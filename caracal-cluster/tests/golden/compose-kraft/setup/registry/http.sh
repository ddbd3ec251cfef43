#!/bin/bash
# Sends the request of a file to HOST PORT; succeeds when the answer's status is one of success.
exec 3<> "/dev/tcp/$1/$2" || exit 1
cat "$3" >&3
IFS=' ' read -r -t 20 _ status _ <&3
case ${status:-none} in
    2*) exit 0 ;;
    *)
        echo "${3##*/}: answered with status ${status:-none}" >&2
        exit 1
        ;;
esac
