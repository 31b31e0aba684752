#!/bin/bash
# Rules that a compiler does not check: layering, file length, words and paths that do not belong, symbols of the
# library.  Usage: tests/gates.sh [BUILD]   The symbol gates need BUILD/libllmrun.a and .so.  Silent when all is well.
BUILD=${1:-build}
cd "${GATES_ROOT:-$(dirname "$0")/..}" || exit 2
status=0
shopt -s lastpipe # fail ends pipelines and must set status here

fail() { # gate, what is wrong; reads "place: detail" lines
    local lines
    lines=$(cat)
    [ -z "$lines" ] && return
    printf '%s\n' "$lines" | sed "s|^|gate $1: |"
    echo "gate $1: $2"
    status=1
}

# Every file of the project: tracked and new, without what git ignores.
files=$(git ls-files -co --exclude-standard 2>/dev/null) || files=$(find . -type f -not -path './build/*' | sed 's|^\./||')
files=$(for f in $files; do [ -f "$f" ] && echo "$f"; done)
pick() { printf '%s\n' "$files" | grep -E "$1"; }
code=$(pick '\.(c|h|def|cu|cuh|cpp|map)$')
written=$(pick '\.(c|h|def|cu|cuh|cpp|map|sh|py|mk|md|1|bash)$|^Makefile$|^\.ci/')

# ---- the tree ----

printf '%s\n' "$files" | cut -d/ -f1 | sort -u |
    grep -vxE 'Makefile|README\.md|LICENSE|\.gitignore|\.clang-format|\.ci|runtime|kernels|loaders|quant|models|tests' |
    fail top-level "not one of the fixed names of the top level"

for f in $written; do awk -v f="$f" 'END { if (NR > 600) print f ": " NR " lines" }' "$f"; done |
    fail length "a file has at most 600 lines"

# ---- layering: who may include what; the floor is for everybody ----

layer() { # prints lines "file: include" of files under $1 whose include does not match $2
    pick "$1" | grep -E '\.(c|h|cu|cuh|cpp|def)$' | while read -r f; do
        sed -n 's/^[[:space:]]*#[[:space:]]*include "\([^"]*\)".*/\1/p' "$f" |
            grep -vE "$2|^runtime/(base|llmrun)\.h$" | sed "s|^|$f: |"
    done
}
pick '^runtime/llmrun\.h$' | xargs -r grep -Hn '#include "' | fail layers "the public header includes libc alone"
layer '^runtime/base\.[ch]$' '^$' | fail layers "the floor includes libc and llmrun.h"
layer '^runtime/[^/]*$' '^(runtime/[^/]*|kernels/.*|loaders/.*|quant/.*|models/.*)$' | fail layers "runtime -> kernels, loaders, models, quant"
for folder in kernels loaders models; do
    layer "^$folder/" "^($folder|quant)/" | fail layers "$folder -> quant"
done
layer '^quant/' '^quant/' | fail layers "quant -> the floor"
layer '^runtime/cli/' '^runtime/cli/' | fail layers "cli -> llmrun.h"
pick '^runtime/cli/' | xargs -r grep -nE '#include ("runtime/base|[<"](cJSON|cjson|pcre2|utf8proc))' |
    fail layers "cli -> llmrun.h, libc, readline"
for f in $code; do
    sed -n 's/^[[:space:]]*#[[:space:]]*include "\([^"]*\)".*/\1/p' "$f" | while read -r include; do
        [ -f "$include" ] || echo "$f: $include"
    done
done | fail includes "includes are written from the root of the project"

# ---- words ----

# shellcheck disable=SC2086 # lists of files without blanks
{
    others=$(printf '%s\n' "$written" | grep -vxE 'tests/gates(_test)?\.sh')
    grep -nE '\b(TODO|FIXME|XXX)\b' $others | fail words "no notes to self on the main branch"
    grep -nE '(^|[^A-Za-z0-9_.])/(work|home|root|Users)/|(^|[^A-Za-z0-9_.}])/tmp/[A-Za-z0-9_.-]*[^X"A-Za-z0-9_.-]' $others |
        fail paths "no path of one machine"
    grep -nE '[[:blank:]]+$' $others | fail blanks "no blanks at the end of a line"
}

# ---- symbols of the library ----

if [ -f "$BUILD/libllmrun.a" ]; then
    nm -A --undefined-only "$BUILD/libllmrun.a" 2>/dev/null | sed -E 's/^[^:]*:([^:]*): +U /\1: /' |
        grep -E ': (_?_?exit|_Exit|quick_exit|abort|__assert_fail|(__)?v?printf(_chk)?|puts|putchar|perror|stdout|stderr|signal|sigaction|setlocale|rand|srand|strtok|(secure_)?getenv)(@.*)?$' |
        grep -vE '^debug\.o: getenv$' | fail calls "the library never ends the process, prints, or reads the environment (but debug.c)"
    objdump -t "$BUILD/libllmrun.a" 2>/dev/null |
        awk '/file format/ { object = $1; sub(":$", "", object) }
             NF >= 5 && $(NF-2) ~ /^\.(data|bss|tdata|tbss)(\.[a-z_A-Z0-9]*)?$/ && $(NF-2) !~ /^\.data\.rel\.ro/ &&
             $(NF-1) !~ /^0+$/ && $NF !~ /^\./ { print object ": " $NF }' |
        grep -vxE 'base\.o: allocator|json\.o: hooks_once(\.[0-9]+)?' |
        fail globals "no variable outlives a call (but the allocator, and the once of cJSON's own hooks)"
fi
if [ -f "$BUILD/libllmrun.so" ]; then
    nm -D --defined-only "$BUILD/libllmrun.so" | awk '{ print $NF }' | sed 's/@.*//' | grep -vE '^llmrun_' |
        fail exports "the shared library exports llmrun_ names alone"
fi
for file in "$BUILD"/libllmrun-sim.so "$BUILD"/libllmrun-cuda.so "$BUILD"/*/libllmrun-cuda.so; do
    [ -f "$file" ] || continue
    nm -D --defined-only "$file" | awk -v f="${file##*/}" '{ print f ": " $NF }' |
        grep -vE '^[^:]*: lr_backend_open$|^libllmrun-sim\.so: simgpu_' |
        fail exports "a backend exports lr_backend_open alone (the simulator, its controls too)"
done
for file in "$BUILD"/libllmrun-cuda.so "$BUILD"/*/libllmrun-cuda.so; do
    [ -f "$file" ] || continue
    objdump -p "$file" | awk -v f="${file##*/}" '$1 == "NEEDED" { print f ": " $2 }' |
        grep -vE ': (libc|libdl|librt|libpthread|libm|ld-linux.*)\.so' |
        fail needs "the CUDA backend needs libc alone; the driver and cuBLAS are found at run time"
done
exit $status
