#!/bin/bash
# Runs the tests that the Makefile built, one line for each program, and ends with "N passed, N failed, N skipped".
# Usage: BUILD=dir tests/run.sh SECTION..    Sections: nvcc gates headers unit kernels cli embed asan tsan
BUILD=${BUILD:-build}
CC=${CC:-gcc}
MAKE=${MAKE:-make}
passed=0 failed=0 skipped=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$(dirname "$0")/.." || exit 1

# report NAME STATUS PASSED FAILED SKIPPED: prints the line, and the log of what failed.
report() {
    local word=ok
    [ "$4" -gt 0 ] && word=FAIL
    [ $(($3 + $4)) -eq 0 ] && word=skip
    printf '%-4s  %-28s %4d passed' "$word" "$1" "$3"
    [ "$4" -gt 0 ] && printf ', %d failed' "$4"
    [ "$5" -gt 0 ] && printf ', %d skipped' "$5"
    printf '  (%d s)\n' $((SECONDS - started))
    [ "$4" -gt 0 ] && tail -n 60 "$work/log" | sed 's/^/      /'
    passed=$((passed + $3)) failed=$((failed + $4)) skipped=$((skipped + $5))
}

# check NAME COMMAND..: a command that passes or fails as a whole; status 77 is a skip.
check() {
    local name=$1 status
    shift
    started=$SECONDS
    "$@" >"$work/log" 2>&1
    status=$?
    case $status in
    0) report "$name" 0 1 0 0 ;;
    77) report "$name" 77 0 0 1 ;;
    *) report "$name" $status 0 1 0 ;;
    esac
}

# at_once NAME COMMAND NAME COMMAND..: the same side by side; a command and its words are one argument.
at_once() {
    local i names=()
    for ((i = 0; $# > 0; i++)); do
        names+=("$1")
        # shellcheck disable=SC2086 # a command is several words
        (SECONDS=0; $2 >"$work/once$i.log" 2>&1; echo "$? $SECONDS" >"$work/once$i") &
        shift 2
    done
    wait
    for i in "${!names[@]}"; do
        local status seconds
        read -r status seconds <"$work/once$i"
        mv "$work/once$i.log" "$work/log"
        started=$((SECONDS - seconds))
        report "${names[i]}" "$status" $((status == 0)) $((status != 0)) 0
    done
}

# count NAME STATUS: reports the log of a command whose output has one line for each case, cmocka's or "ok - ",
# "not ok - ", "skip - ".
count() {
    local ok bad skip
    # cmocka lists what failed or was skipped a second time at the end: names count once.
    ok=$(grep -cE '^(\[ +OK \]|ok - )' "$work/log")
    bad=$(grep -E '^(\[  FAILED  \] [A-Za-z_0-9]+$|not ok - )' "$work/log" | sort -u | wc -l)
    skip=$(grep -E '^(\[  SKIPPED \] [A-Za-z_0-9]+$|skip - )' "$work/log" | sort -u | wc -l)
    [ "$2" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    [ "$2" -eq 0 ] && [ $((ok + bad + skip)) -eq 0 ] && ok=1
    report "$1" "$2" "$ok" "$bad" "$skip"
}

cases() { # NAME COMMAND..
    local name=$1
    shift
    started=$SECONDS
    "$@" >"$work/log" 2>&1
    count "$name" $?
}

finds_defect() { # the command must end with status 1, not crash
    "$@"
    [ $? -eq 1 ]
}

# The public header alone, in each language it promises.
header() { printf '#include "runtime/llmrun.h"\n' | $CC -I. -Wall -Wextra -Werror -pedantic-errors -fsyntax-only "$@" -; }

embed() {
    local root=$work/installed
    $MAKE --no-print-directory -s install BUILD="$BUILD" PREFIX="$root" DESTDIR= NVCC= || return 1
    export PKG_CONFIG_PATH=$root/lib/pkgconfig
    # shellcheck disable=SC2046 # the flags are split on purpose
    $CC -std=c99 -Wall -Werror -o "$work/embed" tests/embed.c $(pkg-config --cflags --libs llmrun) || return 1
    [ -e "$root/share/llmrun/demo/model.safetensors" ] || return 77
    LD_LIBRARY_PATH=$root/lib "$work/embed" "$root/share/llmrun/demo" | grep . || return 1
    (cd / && "$root/bin/llmrun" -p "Once upon a time" -n 5 --temp 0 | grep .) || return 1
    [ -e "$root/lib/libllmrun-sim.so" ] || return 1
    $MAKE --no-print-directory -s uninstall BUILD="$BUILD" PREFIX="$root" DESTDIR= || return 1
    [ -z "$(find "$root" -type f)" ]
}

# The whole CUDA backend for the oldest architecture and one with everything: that it compiles, and its symbols.
backend_under_nvcc() {
    command -v "${NVCC:-nvcc}" >/dev/null || return 77
    $MAKE --no-print-directory -j"$(nproc)" "$BUILD/nvcc/libllmrun-cuda.so" BUILD="$BUILD" CUDA_DIR="$BUILD/nvcc" CUDA_ARCHS="75 90"
}

# The programs of a directory, as many at a time as there are processors, reported in their order; suffix of their names.
unit() {
    local program programs=() status seconds
    for program in tests/test_*.c tests/sim/test_*.cpp; do
        program=$(basename "${program%.*}")
        [ -x "$1/tests/$program" ] && programs+=("$program")
    done
    # shellcheck disable=SC2016 # expanded by the inner shell
    printf '%s\n' "${programs[@]}" | xargs -P "$(nproc)" -I{} bash -c \
        'SECONDS=0; "$1/tests/$3" >"$2/$3.log" 2>&1; echo "$? $SECONDS" >"$2/$3.new"; mv "$2/$3.new" "$2/$3.status"' \
        unit "$1" "$work" {} &
    for program in "${programs[@]}"; do
        until [ -e "$work/$program.status" ]; do sleep 0.1; done
        read -r status seconds <"$work/$program.status"
        mv "$work/$program.log" "$work/log"
        rm "$work/$program.status"
        started=$((SECONDS - seconds))
        count "$program$2" "$status"
    done
    wait
}

run_section() {
    local kind
    case $1 in
    gates)
        check gates bash tests/gates.sh "$BUILD"
        cases "gates can fail" bash tests/gates_test.sh "$BUILD"
        ;;
    headers)
        check "header as C99" header -std=c99 -xc
        check "header as C17" header -std=c17 -xc
        check "header as C++" header -std=c++11 -xc++
        ;;
    unit) unit "$BUILD" "" ;;
    kernels)
        at_once checkkernels "$BUILD/tests/checkkernels" \
            "checkkernels (sim)" "$BUILD/tests/checkkernels --device sim --rounds 20"
        for kind in value guard nan split; do
            check "checkkernels finds: $kind" finds_defect "$BUILD/tests/checkkernels" --plant $kind
        done
        for kind in value guard nan split; do
            check "checkkernels (sim) finds: $kind" finds_defect "$BUILD/tests/checkkernels" --device sim --plant $kind
        done
        check "checkkernels (sim) finds: barrier" bash tests/sim/mutant.sh "$BUILD"
        ;;
    nvcc)
        check "dialect under nvcc" bash tests/sim/nvcc.sh
        check "backend under nvcc" backend_under_nvcc
        ;;
    cli) cases cli bash tests/cli.sh "$BUILD" ;;
    embed) check "install and embed" embed ;;
    asan)
        export UBSAN_OPTIONS=print_stacktrace=1
        unit "$BUILD/asan" " (asan)"
        ;;
    tsan)
        unit "$BUILD/tsan" " (tsan)"
        at_once "checkkernels (sim, tsan)" "$BUILD/tsan/tests/checkkernels --device sim --rounds 1" \
            "checkkernels (asan)" "$BUILD/asan/tests/checkkernels" \
            "checkkernels (sim, asan)" "$BUILD/asan/tests/checkkernels --device sim --rounds 2"
        ;;
    *) echo "run.sh: unknown section $1" >&2 && exit 2 ;;
    esac
}

for section in "$@"; do run_section "$section"; done
[ $skipped -gt 0 ] && tail=", $skipped skipped"
echo "$passed passed, $failed failed$tail"
[ $failed -eq 0 ]
