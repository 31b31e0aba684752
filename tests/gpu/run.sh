#!/bin/bash
# Everything that needs a real GPU, on a machine that may have no network: builds with its nvcc and gcc, checks, measures.
# Usage: RESULTS=dir tests/gpu/run.sh [STEP..]    Steps, in this order when none is named:
#   build     the CUDA backend for this GPU, checkkernels and bench_gpu, which need no library but libc; then the program,
#             which needs cJSON, pcre2 and utf8proc: without them the steps after bench are skipped
#   kernels   checkkernels on the GPU, three seeds
#   sanitize  compute-sanitizer over checkkernels: memcheck, racecheck, initcheck
#   bench     bench_gpu: formats beside what the card can do
#   text      greedy text of the bundled model: the GPU's equals the CPU's; logits beside each other
#   budgets   a 7B shape with random weights under 1G to 24G: what the plan says, what the driver counts
#   peers     that shape in transformers + accelerate under 8 and 24 GiB, beside llmrun; needs their Python packages
# Each step has its log in $RESULTS (default build/gpu) and ends within STEP_SECONDS (default 540).  The last line counts.
cd "$(dirname "$0")/../.." || exit 2
RESULTS=${RESULTS:-build/gpu}
BUILD=${BUILD:-build}
STEP_SECONDS=${STEP_SECONDS:-540}
MAKE=${MAKE:-make}
SHAPE=${SHAPE:-tests/gpu/llama-2-7b/config.json}
mkdir -p "$RESULTS" || exit 2
passed=0 failed=0 skipped=0

has_program() { [ -x "$BUILD/llmrun" ]; }

build() {
    local jobs
    jobs=$(nproc)
    command -v "${NVCC:-nvcc}" || { echo "nvcc is not on the path" && return 1; }
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv || return 1
    git log -1 --format='commit %h of %cd' 2>/dev/null
    $MAKE --no-print-directory -j"$jobs" BUILD="$BUILD" cuda "$BUILD/tests/checkkernels" "$BUILD/bench/bench_gpu" || return 1
    ln -sf ../libllmrun-cuda.so "$BUILD/bench/libllmrun-cuda.so"
    $MAKE --no-print-directory -j"$jobs" BUILD="$BUILD" host ||
        echo "the program does not build here (cJSON, pcre2, utf8proc?): the steps that need it are skipped"
    return 0
}

kernels() {
    local seed status=0
    for seed in 1 2 3; do "$BUILD/tests/checkkernels" --device cuda --seed $seed || status=1; done
    return $status
}

sanitize() {
    local tool status=0
    command -v compute-sanitizer || { echo "compute-sanitizer is not installed" && return 77; }
    for tool in memcheck racecheck initcheck; do
        echo "== $tool"
        compute-sanitizer --tool $tool --error-exitcode 9 "$BUILD/tests/checkkernels" --device cuda --rounds 3 || status=1
    done
    return $status
}

bench() { "$BUILD/bench/bench_gpu" cuda; }

text() {
    local device quant
    has_program || return 77
    for quant in f16 q8_0 q4_k nf4; do
        for device in cpu cuda; do
            "$BUILD/llmrun" run --device $device --quant $quant --raw -p "Once upon a time" -n 200 --temp 0 --stats \
                >"$RESULTS/text-$quant-$device" || return 1
        done
        cmp "$RESULTS/text-$quant-cpu" "$RESULTS/text-$quant-cuda" || return 1
    done
}

# Random weights from a config alone: the shape decides memory and speed.  What the driver counts for the process must
# stay within the budget, and within what was planned.
budgets() {
    local budget status=0 json
    has_program || return 77
    for budget in 1G 2G 4G 8G 12G 16G 24G; do
        echo "== --vram $budget"
        "$BUILD/llmrun" plan --model "$SHAPE" --vram $budget --device cuda || [ $? -eq 3 ] || status=1
        json=$("$BUILD/llmrun" bench --model "$SHAPE" --vram $budget --device cuda -p 512 -n 32 -r 2 --json) || {
            [ $? -eq 3 ] || status=1
            continue
        }
        echo "$json"
        echo "$json" | grep -o '"planned_bytes[^}]*' | awk -F'[:,]' '{
            printf "planned %.3f GiB, peak %.3f GiB, budget %.3f GiB\n", $2 / 2^30, $4 / 2^30, $6 / 2^30
            if ($4 > $6 || $2 > $6) { print "OVER THE BUDGET"; exit 1 } }' || status=1
    done
    return $status
}

# The same shape under the same budgets in transformers + accelerate: what a user would have run instead.
peers() {
    local budget status=0
    has_program || return 77
    python3 -c 'import torch, transformers, accelerate' 2>&1 || return 77
    for budget in 8 24; do
        echo "== $budget GiB: llmrun, f16"
        "$BUILD/llmrun" bench --model "$SHAPE" --vram ${budget}G --quant f16 --prefer quality --device cuda -p 512 -n 32 -r 2 ||
            status=1
        echo "== $budget GiB: transformers + accelerate, f16, device_map auto"
        timeout 200 python3 tests/gpu/peer_transformers.py "$SHAPE" $budget || status=1
    done
    return $status
}

step() {
    local started=$SECONDS status
    export -f has_program build kernels sanitize bench text budgets peers
    export BUILD RESULTS MAKE NVCC SHAPE
    timeout "$STEP_SECONDS" bash -c "$1" >"$RESULTS/$1.log" 2>&1
    status=$?
    case $status in
    0) passed=$((passed + 1)) && word=ok ;;
    77) skipped=$((skipped + 1)) && word=skip ;;
    124) failed=$((failed + 1)) && word=SLOW ;;
    *) failed=$((failed + 1)) && word=FAIL ;;
    esac
    printf '%-4s  %-9s (%d s)  %s\n' "$word" "$1" $((SECONDS - started)) "$RESULTS/$1.log"
    case $1 in bench) cat "$RESULTS/bench.log" ;; esac
    [ $word = FAIL ] && tail -n 30 "$RESULTS/$1.log" | sed 's/^/      /'
    return 0
}

[ $# -eq 0 ] && set -- build kernels sanitize bench text budgets peers
for name in "$@"; do
    case " build kernels sanitize bench text budgets peers " in
    *" $name "*) step "$name" ;;
    *) echo "run.sh: unknown step $name" >&2 && exit 2 ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped" | tee "$RESULTS/summary"
[ $failed -eq 0 ]
