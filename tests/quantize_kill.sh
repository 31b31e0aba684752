#!/bin/bash
# Kills `llmrun quantize` at random moments: the old output must be whole each time, or the new one complete, and the next
# start must remove what the killed one left.   Usage: tests/quantize_kill.sh PROGRAM TIMES
llmrun=$1 times=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$(dirname "$0")/.." || exit 1

fail() {
    echo "$*"
    exit 1
}
sum() { # of a file, or of all files in a directory
    find "$1" -type f | sort | xargs cat | md5sum
}
write() { # QUANT OUT
    "$llmrun" quantize --model models/demo --quant "$1" -o "$2" -q
}

for kind in "out.gguf q8_0 q4_k" "out f16 nf4"; do
    read -r name before after <<<"$kind"
    out=$work/$name
    write "$after" "$out" || fail "$after is not written"
    new=$(sum "$out")
    write "$before" "$out" || fail "$before is not written over $after"
    old=$(sum "$out")
    [ "$old" != "$new" ] || fail "$before and $after are the same"
    start=$(date +%s%N)
    write "$before" "$out"
    took=$(($(date +%s%N) - start)) killed=0 left=0
    for ((i = 0; i < times; i++)); do
        "$llmrun" quantize --model models/demo --quant "$after" -o "$out" -q &
        pid=$!
        sleep "$(awk -v r=$RANDOM -v ns=$took 'BEGIN { printf "%.4f", r / 32768 * ns / 1e9 }')"
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
        [ $? -eq 137 ] && killed=$((killed + 1))
        [ -n "$(find "$work" -name '.*.tmp')" ] && left=$((left + 1))
        now=$(sum "$out")
        [ "$now" = "$old" ] || [ "$now" = "$new" ] || fail "kill $i: $name is neither the old nor the new one"
        write "$before" "$out" || fail "kill $i: the next start fails"
        [ "$(sum "$out")" = "$old" ] || fail "kill $i: the next start writes something else"
        [ -z "$(find "$work" -name '.*.tmp')" ] || fail "kill $i: a temporary file stays"
    done
    echo "$name: $killed of $times killed, $left left a temporary file"
    [ "$killed" -gt 0 ] || fail "$name: no process was killed in time"
done
