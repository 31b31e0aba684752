#!/bin/bash
# Every gate must be able to fail: each case plants one fault in a small tree of its own and expects that gate's name.
gates=$(cd "$(dirname "$0")" && pwd)/gates.sh
CC=${CC:-gcc}
tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT
status=0

# A clean tree of one file per folder.
fresh() {
    rm -rf "${tree:?}"/*
    mkdir -p "$tree"/{runtime/cli,kernels,loaders,quant,models,tests,build}
    echo '#include <stdint.h>' >"$tree/runtime/llmrun.h"
    echo '#include "runtime/llmrun.h"' | tee "$tree/runtime/base.h" "$tree/runtime/cli/cli.h" >/dev/null
    echo '#include "runtime/base.h"' | tee "$tree"/{kernels/kernels.h,loaders/loader.h,quant/quant.h,models/model.h} >/dev/null
    echo 'int llmrun_x(void) { return 1; }' >"$tree/runtime/api.c"
}

# expect GATE: the gate of that name, and no other, must be red, and the exit status say so.
expect() {
    local out red
    out=$(cd "$tree" && GATES_ROOT=$tree GIT_DIR=/nonexistent bash "$gates" "$tree/build")
    red=$?
    if [ $red -eq $((${#1} > 0)) ] && [ "$(printf '%s\n' "$out" | sed -n 's/^gate \([a-z-]*\):.*/\1/p' | sort -u)" = "$1" ]; then
        echo "ok - ${1:-clean tree}"
    else
        printf 'not ok - expected "%s", got status %d:\n%s\n' "$1" $red "$out"
        status=1
    fi
}

library() { # one object of the given C code, as the static and the shared library
    printf '%s\n' "$1" | $CC -w -fPIC -O0 -xc -c -o "$tree/build/bad.o" - &&
        ar rcs "$tree/build/libllmrun.a" "$tree/build/bad.o" && $CC -shared -o "$tree/build/libllmrun.so" "$tree/build/bad.o"
}

backend() { # NAME CODE FLAG..: a shared object beside the library
    local name=$1 code=$2
    shift 2
    printf '%s\n' "$code" | $CC -w -fPIC -shared -O0 -xc -o "$tree/build/libllmrun-$name.so" - "$@"
}

plant() { # GATE FILE LINE: appends the line to the file
    fresh
    mkdir -p "$(dirname "$tree/$2")"
    printf '%b\n' "$3" >>"$tree/$2"
    expect "$1"
}

fresh && expect ""
plant top-level extra/x.c ''
plant length quant/long.c "$(seq 601 | sed 's|.*|//|')"
plant layers runtime/llmrun.h '#include "runtime/base.h"'
plant layers runtime/base.h '#include "quant/quant.h"'
plant layers kernels/a.c '#include "loaders/loader.h"'
plant layers loaders/a.c '#include "models/model.h"'
plant layers models/a.c '#include "loaders/loader.h"'
plant layers quant/a.c '#include "kernels/kernels.h"'
plant layers runtime/cli/a.c '#include "runtime/base.h"'
plant layers runtime/cli/a.c '#include <cjson/cJSON.h>'
plant includes runtime/a.c '#include "runtime/missing.h"'
plant words models/a.c '/* TO''DO */'
plant paths tests/a.c 'const char *p = "/ho''me/me/model";'
plant paths tests/a.sh 'cat /tm''p/model/x'
plant blanks README.md 'text '
fresh && library 'void llmrun_f(void) { abort(); }' && expect calls
fresh && library 'int llmrun_f(void) { return printf("x"); }' && expect calls
fresh && library 'char *llmrun_f(void) { return getenv("X"); }' && expect calls
fresh && library 'void llmrun_f(void) { static int n; n++; }' && expect globals
fresh && library 'void llmrun_f(void) { static int n = 1; n++; }' && expect globals
fresh && library 'void f(void) {}' && expect exports
fresh && library 'static const char *const t[] = { "a" }; const char *llmrun_f(int i) { return t[i]; }' && expect ""
open='void lr_backend_open(void) {}'
fresh && backend sim "$open void simgpu_fail(void) {}" && backend cuda "$open" && expect ""
fresh && backend sim "$open void gpu_gemv(void) {}" && expect exports
fresh && backend cuda "$open void simgpu_fail(void) {}" && expect exports
fresh && backend cuda "$open" -Wl,--no-as-needed -lpcre2-8 && expect needs
exit $status
