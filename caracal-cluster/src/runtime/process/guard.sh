home=$1 linger=$2 ports=$3
(
exec 7<"$home/guard" || exit
flock -s 7
while exec 8<"$home/lease"; do
    flock -x 8
    [ -e "$home/lease" ] || exit 0
    joined=$(cat "$home/lease")
    flock -u 8
    [ "$linger" = 0 ] || sleep "$linger"
    if flock -n -x 8 && [ "$(cat "$home/lease" 2>&1)" = "$joined" ]; then break; fi
    exec 8<&-
done
record=$(cat "$home"/state/clusters/*/cluster.json 2>&1)
case $record in *'"runtime": "docker"'*) exit 0 ;; esac
id=$(printf %s "$record" | sed -n 's/.*"cluster_id": *"\([0-9a-f]*\)".*/\1/p')
if [ -n "$id" ]; then
    # The brackets keep grep from finding itself; the second look wants the mark as an argument of its own.
    looks=0
    while [ "$looks" -lt 100 ]; do
        left=
        for file in $(grep -la -- "[-]Dcaracal.cluster.id=$id" /proc/[0-9]*/cmdline); do
            if tr '\0' '\n' <"$file" | grep -qx -- "-Dcaracal.cluster.id=$id"; then
                pid=${file#/proc/}
                kill -9 "${pid%/cmdline}" && left=1
            fi
        done
        [ -n "$left" ] || break
        looks=$((looks + 1))
        sleep 0.1
    done
    if [ -e "$ports/.lock" ]; then
        exec 9<"$ports/.lock"
        flock -x 9
        grep -l -- "$id" "$ports"/[0-9]* | while read -r port; do rm -f "$port"; done
        exec 9<&-
    fi
fi
rm -rf "$home"
) &
