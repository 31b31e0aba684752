#!/bin/bash
# Everything that needs a real GPU, on a machine that may have no network: builds with its nvcc and gcc, checks, measures.
# Usage: [RESULTS=dir] [BROUGHT=dir] tests/gpu/run.sh [rest | STEP..]     without STEP: all of these, in this order
#   build      the CUDA backend for this GPU, checkkernels and bench_gpu, which need no library but libc; then the program,
#              which needs cJSON, pcre2 and utf8proc: without them the steps that need it are skipped
#   kernels    checkkernels on the GPU, three seeds
#   text       greedy text of the bundled model: the GPU's equals the CPU's; logits beside each other
#   limits     read-only HBM, cuBLAS, pinned copy, RAM read; then each kernel beside them (bench_gpu)
#   decode7 decode8   7B and 8B shapes: f16, q8_0, q4_k, nf4 behind 0 and 4,000 tokens, beside the read limit
#   early      kernels of decode launched early: the same text, then bench_gpu and decode7 beside what they were without
#   budgets    a 7B shape with random weights under 1G to 24G: what the plan says, what the driver counts
#   flat       the memory that the driver counts does not move after loading, during a request that fills the context
#   prefill    4,096 tokens in each of these, beside cuBLAS; attention beside each backend of PyTorch's SDPA
#   offload7 offload70   7B in f16 under 8G, 70B in 4 bits under 24G: decode and prefill beside the prediction
#   load       13 GB of f16 from the page cache, and the time until the first token is printed
#   memcheck racecheck initcheck   compute-sanitizer over checkkernels
#   peers      the 7B shape in transformers + accelerate under 8 and 24 GiB, beside llmrun
#   static nf4 the same on the GPU as a whole: static cache and torch.compile; bitsandbytes nf4
#   llamabuild llamacpp   llama-bench from brought source, on random GGUF files of the 7B shape
# Each step ends within STEP_SECONDS (default 540).  Where a call is limited, SECONDS_MOST=570 starts nothing that could
# not end by then, and `rest` goes on with the steps that have not run yet: repeat it until it says that none is left.
#
# BROUGHT has what the machine lacks and cannot fetch, a folder or its .tar.xz, made by tests/gpu/bring.sh; may be absent:
#   usr/         unpacked packages of libraries and headers: cJSON, pcre2, utf8proc
#   python/      Python packages (bitsandbytes)
#   llama.cpp/   the source of llama.cpp or a fork; cmake builds it here
# Logs are $RESULTS/STEP.log (default build/gpu), a line for each step is in $RESULTS/summary; figures end up in
# tests/gpu/RESULTS.md by hand.  DEVICE=sim SHAPES=dir, with small shapes under the same names, rehearses what it can.
cd "$(dirname "$0")/../.." || exit 2
export RESULTS=${RESULTS:-build/gpu} BUILD=${BUILD:-build} MAKE=${MAKE:-make}
export DEVICE=${DEVICE:-cuda} SHAPES=${SHAPES:-tests/gpu}
STEP_SECONDS=${STEP_SECONDS:-540} STEP_LEAST=${STEP_LEAST:-30}
ALL=(build kernels text limits decode7 decode8 early budgets flat prefill offload7 offload70 load memcheck racecheck
    initcheck peers static nf4 llamabuild llamacpp)
mkdir -p "$RESULTS" || exit 2
export PATH=$PATH:/usr/local/cuda/bin # compute-sanitizer
# cuBLAS where only Python's packages have it.
cublas=$(python3 -c 'import glob, nvidia
for path in nvidia.__path__:
    print(*(f.rsplit("/", 1)[0] for f in glob.glob(path + "/**/libcublas.so.*", recursive=True)), sep="\n")' 2>/dev/null | head -n 1)
[ -z "$cublas" ] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$cublas
passed=0 failed=0 skipped=0 left=0
if [ -f "$BROUGHT" ]; then
    mkdir -p "$BUILD/brought" || exit 2
    [ -d "$BUILD/brought/usr" ] || tar -C "$BUILD/brought" -xJf "$BROUGHT" || exit 2
    BROUGHT=$BUILD/brought
fi
if [ -n "$BROUGHT" ]; then
    BROUGHT=$(realpath "$BROUGHT") || exit 2
    libraries=$BROUGHT/usr/lib/$(uname -m)-linux-gnu
    export BROUGHT PYTHONPATH=$BROUGHT/python${PYTHONPATH:+:$PYTHONPATH}
    export CPATH=$BROUGHT/usr/include LIBRARY_PATH=$libraries LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

# ---- what steps share ----

has_program() { [ -x "$BUILD/llmrun" ] || { echo "the program is not built" && return 1; }; }
has_python() { python3 -c "import $1" 2>&1 || { echo "Python has no $1" && return 1; }; }
shape() { echo "$SHAPES/$1/config.json"; }

# measure SHAPE OPTION..: llmrun bench on the GPU, its JSON on one line.
measure() {
    local model
    model=$(shape "$1")
    shift
    "$BUILD/llmrun" bench --model "$model" --device "$DEVICE" --json "$@"
}

# number NAME: the first value of that name in the JSON on stdin.
number() { grep -o "\"$1\": *[0-9.e+-]*" | head -n 1 | sed 's/.*: *//'; }

# Bytes a second that the GPU reads, from the limits step, else measured now.
read_limit() { "$BUILD/llmrun" devices --device "$DEVICE" --json | grep -o '"kind": "'"$DEVICE"'".*' | number read_bytes_per_second; }

# ---- steps: status 77 is a skip ----

build() {
    local jobs
    jobs=$(nproc)
    command -v "${NVCC:-nvcc}" || { echo "nvcc is not on the path" && return 1; }
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv || return 1
    date -u +%F
    git log -1 --format='commit %h of %cd' 2>/dev/null
    $MAKE --no-print-directory -j"$jobs" BUILD="$BUILD" cuda "$BUILD/tests/checkkernels" "$BUILD/bench/bench_gpu" || return 1
    ln -sf ../libllmrun-cuda.so "$BUILD/bench/libllmrun-cuda.so"
    $MAKE --no-print-directory -j"$jobs" BUILD="$BUILD" host ||
        echo "the program does not build here (cJSON, pcre2, utf8proc?): the steps that need it are skipped"
    return 0
}

kernels() {
    local seed status=0
    for seed in 1 2 3; do "$BUILD/tests/checkkernels" --device "$DEVICE" --seed $seed || status=1; done
    return $status
}

sanitize() {
    command -v compute-sanitizer || { echo "compute-sanitizer is not installed" && return 77; }
    compute-sanitizer --tool "$1" --error-exitcode 9 "$BUILD/tests/checkkernels" --device "$DEVICE" --rounds "$2"
}
memcheck() { sanitize memcheck 3; }
racecheck() { sanitize racecheck 1; }
initcheck() { sanitize initcheck 3; }

limits() {
    "$BUILD/bench/bench_gpu" "$DEVICE" || return 1
    has_program && "$BUILD/llmrun" devices --device "$DEVICE"
    return 0
}

text() {
    local device quant
    has_program || return 77
    for quant in f16 q8_0 q4_k nf4; do
        for device in cpu "$DEVICE"; do
            "$BUILD/llmrun" run --device "$device" --quant $quant --raw -p "Once upon a time" -n 200 --temp 0 --stats \
                >"$RESULTS/text-$quant-$device" || return 1
        done
        cmp "$RESULTS/text-$quant-cpu" "$RESULTS/text-$quant-$DEVICE" || return 1
    done
}

# What the backend does not do by itself yet: to be compared with the logs of limits and decode7.
early() {
    has_program || return 77
    [ "$DEVICE" = cuda ] || { echo "simulated kernels run one after another" && return 77; }
    export LLMRUN_CUDA=early
    RESULTS=$RESULTS/early && mkdir -p "$RESULTS" && text || return 1
    "$BUILD/bench/bench_gpu" cuda early && decode llama-2-7b
}

# Random weights from a config alone: the shape decides memory and speed.  What the driver counts for the process must
# stay within the budget, and within what was planned.
budgets() {
    local budget status=0 json
    has_program || return 77
    for budget in 1G 2G 4G 8G 12G 16G 24G; do
        echo "== --vram $budget"
        "$BUILD/llmrun" plan --model "$(shape llama-2-7b)" --vram $budget --device "$DEVICE" || [ $? -eq 3 ] || status=1
        json=$(measure llama-2-7b --vram $budget -p 512 -n 32 -r 2) || {
            [ $? -eq 3 ] || status=1
            continue
        }
        echo "$json"
        awk -v p="$(echo "$json" | number planned_bytes)" -v k="$(echo "$json" | number peak_bytes)" \
            -v b="$(echo "$json" | number budget_bytes)" 'BEGIN {
            printf "planned %.3f GiB, peak %.3f GiB, budget %.3f GiB\n", p / 2^30, k / 2^30, b / 2^30
            if (p == 0 || k > b || p > b) { print "OVER THE BUDGET"; exit 1 } }' || status=1
    done
    return $status
}

# Samples what the driver counts for the process: the second half of a run is requests alone.
flat() {
    local pid samples=$RESULTS/flat.samples
    has_program || return 77
    : >"$samples"
    measure llama-2-7b --vram 8G -p 2000 -n 64 -r 20 >"$RESULTS/flat.json" &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits | awk -F', ' -v p=$pid '$1 == p { print $2 }' >>"$samples"
        sleep 0.2
    done
    wait $pid || return 1
    [ -s "$samples" ] || { echo "the driver does not say what a process uses" && return 77; }
    awk '{ v[NR] = $1 } END { low = high = v[NR]
        for (i = int(NR / 2) + 1; i <= NR; i++) { if (v[i] < low) low = v[i]; if (v[i] > high) high = v[i] }
        printf "%d samples, the last half between %d and %d MiB\n", NR, low, high; exit low != high }' "$samples"
}

# Each format behind 0 and 4,000 tokens; the bound counts weights alone, so the cache of the context costs of it.
decode() {
    local quant depth json limit
    has_program || return 77
    limit=$(read_limit)
    echo "| $1 | quant | depth | tok/s | weights GB/s | of the read limit $limit |"
    for quant in f16 q8_0 q4_k nf4; do
        for depth in 0 4000; do
            json=$(measure "$1" --quant $quant --prefer quality -c 4096 -p 0 -n 64 -d $depth -r 5) || return 1
            awk -v m="$1" -v q=$quant -v d=$depth -v t="$(echo "$json" | number tokens_per_second)" -v l="$limit" \
                -v b="$(echo "$json" | number weight_bytes_per_token)" 'BEGIN {
                printf "| %s | %s | %d | %.1f | %.1f | %.3f |\n", m, q, d, t, t * b / 1e9, l ? t * b / l : 0 }'
        done
    done
}
decode7() { decode llama-2-7b; }
decode8() { decode llama-3.1-8b; }

prefill() {
    local quant json
    has_program || return 77
    for quant in f16 q8_0 q4_k nf4; do
        json=$(measure llama-2-7b --quant $quant --prefer quality -c 4096 -p 4096 -n 0 -r 5) || return 1
        awk -v q=$quant -v t="$(echo "$json" | number tokens_per_second)" -v n="$(echo "$json" | number n_params)" 'BEGIN {
            printf "7B, 4096 tokens, %s: %.0f tok/s, %.1f TFLOP/s\n", q, t, 2 * n * t / 1e12 }'
    done
    grep -A 40 "long products" "$RESULTS/limits.log" 2>/dev/null
    if has_python torch; then python3 tests/gpu/peer_attention.py; fi
}

# offload SHAPE BUDGET QUANT: what was predicted from the card's and the CPU's measured rates, beside what came out.
offload() {
    local plan json
    has_program || return 77
    plan=$("$BUILD/llmrun" plan --model "$(shape "$1")" --device "$DEVICE" --vram "$2" --quant "$3" -c 1024 --json) || return 1
    "$BUILD/llmrun" plan --model "$(shape "$1")" --device "$DEVICE" --vram "$2" --quant "$3" -c 1024
    json=$(measure "$1" --vram "$2" --quant "$3" -c 1024 -p 1000 -n 16 -r 3) || return 1
    echo "$json"
    for what in prefill decode; do
        echo "$what: predicted $(echo "$plan" | number ${what}_tokens_per_s) tok/s, measured" \
            "$(echo "$json" | grep -o "\"name\": \"$([ $what = prefill ] && echo pp || echo tg).*" | number tokens_per_second)"
    done
}
offload7() { offload llama-2-7b 8G f16; }
offload70() { offload llama-2-70b 24G q4_k; }

# A file of real bytes; the first run warms the page cache.
load() {
    local model=$RESULTS/model-7b run started took
    has_program || return 77
    [ -e "$model/done" ] || python3 tests/gpu/make_model.py "$(shape llama-2-7b)" "$model" || return 77
    for run in 1 2 3; do
        started=$(date +%s.%N)
        "$BUILD/llmrun" run --model "$model" --device "$DEVICE" --quant f16 --no-cache -c 512 --raw -p "Once" -n 1 --temp 0 --stats || return 1
        took=$(echo "$(date +%s.%N) $started" | awk '{ print $1 - $2 }')
        echo "run $run: $took s from start to end with one token, $(stat -c %s "$model/model.safetensors") bytes" \
            "$(awk -v b="$(stat -c %s "$model/model.safetensors")" -v t="$took" 'BEGIN { printf "%.1f GB/s", b / t / 1e9 }')"
    done
}

# The same shape under the same budgets in transformers + accelerate: what a user would have run instead.
peers() {
    local budget status=0
    has_program || return 77
    has_python "torch, transformers, accelerate" || return 77
    for budget in 8 24; do
        echo "== $budget GiB: llmrun, f16"
        measure llama-2-7b --vram ${budget}G --quant f16 --prefer quality -p 512 -n 32 -r 2 || status=1
        echo "== $budget GiB: transformers + accelerate, f16, device_map auto"
        timeout 150 python3 tests/gpu/peer_transformers.py "$(shape llama-2-7b)" $budget || status=1
    done
    return $status
}
static() {
    has_python "torch, transformers" || return 77
    python3 tests/gpu/peer_transformers.py "$(shape llama-2-7b)" 24 static
}
nf4() {
    has_python "torch, transformers, bitsandbytes" || return 77
    python3 tests/gpu/peer_transformers.py "$(shape llama-2-7b)" 24 nf4
}

# Goes on where it was stopped when it is called again.
llamabuild() {
    [ -f "$BROUGHT/llama.cpp/CMakeLists.txt" ] || { echo "BROUGHT has no llama.cpp" && return 77; }
    cmake -S "$BROUGHT/llama.cpp" -B "$BUILD/llama" -DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=native -DGGML_NATIVE=ON \
        -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DCMAKE_BUILD_TYPE=Release >/dev/null || return 1
    cmake --build "$BUILD/llama" --target llama-bench -j "$(nproc)"
}
llamacpp() {
    local file quant status=0
    [ -x "$BUILD/llama/bin/llama-bench" ] || { echo "llama-bench is not built" && return 77; }
    for quant in f16 q8_0 q4_k; do
        file=$RESULTS/7b-$quant.gguf
        [ -e "$file" ] || python3 tests/gpu/make_gguf.py "$(shape llama-2-7b)" $quant "$file" || return 1
        "$BUILD/llama/bin/llama-bench" -m "$file" -ngl 99 -fa 1 -p 512,4096 -n 64 || status=1
        rm -f "$file"
    done
    return $status
}

# ---- running ----

step() {
    local name=$1 started=$SECONDS status word limit=$STEP_SECONDS
    [ -n "$SECONDS_MOST" ] && [ $((SECONDS_MOST - SECONDS)) -lt "$limit" ] && limit=$((SECONDS_MOST - SECONDS))
    rm -f "$RESULTS/$name.done"
    [ "$limit" -lt "$STEP_LEAST" ] && left=$((left + 1)) && return
    timeout -k 10 "$limit" bash -c "$(declare -f); $name" >"$RESULTS/$name.log" 2>&1
    status=$?
    case $status in
    0) passed=$((passed + 1)) && word=ok ;;
    77) skipped=$((skipped + 1)) && word=skip ;;
    124 | 137) if [ "$limit" -lt "$STEP_SECONDS" ]; then left=$((left + 1)) && word=left; else failed=$((failed + 1)) && word=SLOW; fi ;;
    *) failed=$((failed + 1)) && word=FAIL ;;
    esac
    [ $word = left ] || touch "$RESULTS/$name.done"
    printf '%-4s  %-9s (%d s)  %s\n' $word "$name" $((SECONDS - started)) "$RESULTS/$name.log" | tee -a "$RESULTS/summary"
    case $name in limits | decode* | early | prefill | offload* | load) [ $word = ok ] && cat "$RESULTS/$name.log" ;; esac
    case $word in FAIL | SLOW) tail -n 30 "$RESULTS/$name.log" | sed 's/^/      /' ;; skip) tail -n 1 "$RESULTS/$name.log" ;; esac
    return 0
}

names=("$@")
[ $# -eq 0 ] && names=("${ALL[@]}")
if [ "$*" = rest ]; then
    names=()
    for name in "${ALL[@]}"; do [ -e "$RESULTS/$name.done" ] || names+=("$name"); done
fi
for name in "${names[@]}"; do
    case " ${ALL[*]} " in
    *" $name "*) step "$name" ;;
    *) echo "run.sh: unknown step $name; there are: ${ALL[*]}" >&2 && exit 2 ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped, $left left" | tee -a "$RESULTS/summary"
[ $failed -eq 0 ]
