#!/bin/bash
# The program from outside: exit codes, what goes to stdout and what to stderr, JSON.  Usage: tests/cli.sh [BUILD]
# One line for each case: "ok - ", "not ok - " or "skip - ".
# shellcheck disable=SC2015,SC2059 # "test && ok || bad" is meant; the keys to type hold escapes
cd "$(dirname "$0")/.." || exit 2
llmrun=${1:-build}/llmrun
json_check=${1:-build}/tests/json_check
shared=../shared/data
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
status=0

ok() { echo "ok - $1"; }
bad() {
    echo "not ok - $1: $2"
    status=1
}
same() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "expected \"$2\", got \"$3\""; fi; }

# exits CODE TEXT ARGS..: the program ends with CODE, prints one line with TEXT on stderr and nothing on stdout.
exits() {
    local code=$1 text=$2 got
    shift 2
    "$llmrun" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ $got -ne "$code" ]; then
        bad "$*" "expected exit $code, got $got: $(head -c 300 "$work/err")"
    elif [ -s "$work/out" ]; then
        bad "$*" "stdout is not empty"
    elif [ "$(wc -l <"$work/err")" -ne 1 ] || ! grep -qF -- "$text" "$work/err"; then
        bad "$*" "expected one line with \"$text\", got: $(head -c 300 "$work/err")"
    else
        ok "exit $code: $*"
    fi
}

# ---- usage ----

for value in 12x -5 0 nan inf 99999999999 '' 1.5 0x10 ' 4'; do exits 2 --ctx run -p x -c "$value"; done
exits 2 '--ctx "12x": not an integer' -c 12x -p x
for value in 8Q G -1G 0 nan 1e99 8GX ''; do exits 2 --ram plan --ram "$value"; done
for value in x -0.1 nan 1e400 ''; do exits 2 --temp -p x --temp "$value"; done
for value in 1.5 -1 nan; do exits 2 --top-p -p x --top-p "$value"; done
exits 2 --threads -p x -t 0
exits 2 --vram --vram 8G,x -p x
exits 2 'did you mean --temp?' --tempp 1
exits 2 'did you mean --top-k?' --topk 1
exits 2 'did you mean plan?' paln
exits 2 'see llmrun run --help' -x
exits 2 'needs a value' -p
exits 2 'needs a value' --model --stats
exits 2 'takes no value' --stats=1
exits 2 'not an option of llmrun run' --ids
exits 2 'unexpected argument' run hello
exits 2 'contradict' --chat --raw -p x
exits 2 'contradict' --chat --parse-special -p x
exits 2 'contradict' --system x --raw -p x
exits 2 'expected auto|cpu|cuda|sim' --device gpu -p x
exits 2 --vram -ngl 99
exits 2 '--vram takes one size for each device' --tensor-parallel-size 2
exits 2 '--quant 4bit' --load-in-4bit
exits 2 'no prompt' run
for word in serve; do exits 7 'not in this version' $word; done
exits 2 'contradict' --device cpu --sim-gpus 2x1G -p x
exits 2 'contradict' --device cpu --vram 8G -p x
exits 2 'simulated GPUs' --sim-gpus 2y1G -p x
for value in 8Gx 8G:x 8G:1:2:3:4 99x1G ''; do exits 2 --gpu plan --gpu "$value"; done
exits 5 "$work/none" --plan "$work/none" -p x
exits 5 "$work/none" --model "$work/none" -p x
exits 5 "$work/none" plan --model "$work/none"
exits 5 "$work/none" -f "$work/none"

# ---- help ----

for command in '' run plan info tokenize bench compare quantize devices; do
    # shellcheck disable=SC2086 # no word, or one
    if "$llmrun" $command --help >"$work/out" 2>"$work/err" && grep -q Usage "$work/out" && [ ! -s "$work/err" ]; then
        ok "help $command"
    else
        bad "help $command" "expected usage on stdout alone"
    fi
done
for option in --quant --kv --ram --vram --ctx --temp --seed --stop --logits --raw --chat --stats --json --cpu-isa --device \
    --sim-gpus --plan --disk --prefer; do
    "$llmrun" run --help | grep -q -- "$option " || "$llmrun" run --help | grep -q -- "$option$" || bad "help" "no $option"
    grep -q -- "${option//-/\\\\-}" runtime/cli/llmrun.1 || bad "man page" "no $option"
done
same version "llmrun $(sed -n 's/^VERSION *:= *//p' Makefile)" "$("$llmrun" --version)"
"$llmrun" --help >/dev/full 2>"$work/err"
same "full disk" 5 $?

# ---- quantize ----

exits 2 'format with --quant' quantize --model models/demo -o "$work/x.gguf"
exits 2 'output with -o' quantize --model models/demo --quant q8_0
exits 7 'GGUF only' quantize --model models/demo --quant q8_0 -o "$work/x"
if "$llmrun" quantize --model models/demo --quant q8_0 -o "$work/x.gguf" --json 2>"$work/err" |
    "$json_check" out quant file_bytes bits_per_weight && [ ! -s "$work/err" ]; then
    ok "quantize --json"
else
    bad "quantize --json" "$(cat "$work/err")"
fi
exits 2 'q8_0 has no use for it' quantize --model models/demo --quant q8_0 -o "$work/c.gguf" --calibrate "$0"
exits 5 "$work/none" quantize --model models/demo --quant q4_k -o "$work/c.gguf" --calibrate "$work/none"
head -c 3000 models/demo/eval.txt >"$work/tales"
"$llmrun" quantize --model models/demo --quant q4_k -o "$work/c.gguf" --calibrate "$work/tales" -q 2>"$work/err"
same "quantize --calibrate: exit 0" 0 $?
"$llmrun" compare --model models/demo -n 70 -c 64 --modes q4_k,"$work/c.gguf" --json 2>"$work/err" >"$work/out"
grep -q '"quant": "c.gguf", "kv": "f16", "file": ".*"kl_mean": 0.0' "$work/out" && ok "compare: a file is a mode" ||
    bad "compare: a file is a mode" "$(cat "$work/out" "$work/err")"
if bash tests/quantize_kill.sh "$llmrun" 10 >"$work/out" 2>&1; then
    ok "quantize, killed at random moments"
else
    bad "quantize, killed at random moments" "$(cat "$work/out")"
fi

# ---- devices ----

if "$llmrun" devices --json 2>"$work/err" | "$json_check" devices gpu_support && [ ! -s "$work/err" ]; then
    ok "devices --json"
else
    bad "devices --json" "expected one JSON document"
fi

# ---- Ctrl-C: a benchmark on random weights that would take minutes ----

mkdir "$work/shape"
cat >"$work/shape/config.json" <<'CONFIG'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
 "rms_norm_eps": 1e-5, "vocab_size": 1024, "tie_word_embeddings": true}
CONFIG
shape=$work/shape/config.json
timeout --preserve-status -s INT 2 "$llmrun" bench --model "$shape" -r 1000 -p 1024 >"$work/out" 2>"$work/err"
same "Ctrl-C: exit 130" 130 $?
same "Ctrl-C: nothing on stdout" 0 "$(wc -c <"$work/out")"
same "Ctrl-C: nothing on stderr" 0 "$(wc -c <"$work/err")"
if "$llmrun" bench --model "$shape" -p 16 -n 4 -r 1 --json 2>"$work/err" | "$json_check" tests quant; then
    ok "bench --json"
else
    bad "bench --json" "$(cat "$work/err")"
fi
"$llmrun" bench --model "$shape" -p 4,8 -n 2 -d 0,3 -t 1,2 -r 2 2>"$work/err" | grep -oE '[0-9]+ \| (pp|tg)[^|]*' | tr -d ' |' >"$work/out"
same "bench: lists" "1pp4 1pp8 1tg2 1pp4@d3 1pp8@d3 1tg2@d3 2pp4 2pp8 2tg2 2pp4@d3 2pp8@d3 2tg2@d3" "$(paste -sd ' ' "$work/out")"
exits 2 '--threads "1,x": not an integer' bench -t 1,x
exits 2 '--depth "2,": not an integer' bench -d 2,
"$llmrun" plan --model "$shape" | grep -q KV && ok "plan of a bare config.json" || bad "plan of a bare config.json" "no KV"

# ---- compare ----

demo=models/demo
if [ -f $demo/model.safetensors ]; then
    sentence="The king said to his youngest daughter that she must keep her word, and she wept, and went to the well."
    for _ in 1 2 3 4; do echo "$sentence"; done >"$work/tale"
    compare() { "$llmrun" compare --model $demo -c 64 -n 70 "$@" </dev/null 2>"$work/err"; }
    json=$(compare --text "$work/tale" --modes f16,q4_k --kv f16,q8_0 --html "$work/page.html" --json)
    printf %s "$json" | "$json_check" reference modes windows predicted_tokens kept_bytes && [ ! -s "$work/err" ] &&
        ok "compare --json" || bad "compare --json" "$(cat "$work/err")"
    same "compare: windows" '"windows": 2, "window": 64' "$(printf %s "$json" | grep -o '"windows": 2, "window": 64')"
    same "compare: every mode with every KV cache" "f16 f16 q4_k f16 f16 q8_0 q4_k q8_0" \
        "$(printf %s "${json#*modes}" | grep -oE '"(quant|kv)": "[a-z0-9_]*"' | cut -d'"' -f4 | paste -sd ' ')"
    # KL of the modes in their order: f16 next to nothing, q4_k far more, 8-bit KV more than f16.
    printf %s "${json#*modes}" | grep -oE '"kl_mean": [-0-9.e]+' | cut -d' ' -f2 | paste -sd ' ' >"$work/kl"
    awk '{ exit !($1 >= 0 && $1 < 1e-4 && $2 > 10 * $1 && $3 > $1) }' "$work/kl" && ok "compare: KL" || bad "compare: KL" "$(cat "$work/kl")"
    grep -q '</html>' "$work/page.html" && ! grep -qE 'src=|href=|url\(|nan|inf[^o]' "$work/page.html" &&
        [ "$(grep -c '<svg viewBox="0 0 480' "$work/page.html")" -eq 2 ] && grep -q 'Error of each layer' "$work/page.html" && ok "compare --html: one page, nothing from outside" ||
        bad "compare --html" "$(head -c 300 "$work/page.html")"
    compare --modes q8_0 >"$work/out"
    same "compare: the bundled text, a table" 1 "$(grep -c '^q8_0 .* %$' "$work/out")"
    # Mixed precision: measured first, a row of its own between the others; auto then mixes where it has to.
    json=$(XDG_CACHE_HOME="$work/mixed" compare --text "$work/tale" --modes q8_0,mixed:6.5,q4_k --json)
    same "compare: mixed" "q8_0 mixed:6.5 q4_k" \
        "$(printf %s "${json#*modes}" | grep -oE '"quant": "[a-z0-9_:.]*"' | cut -d'"' -f4 | paste -sd ' ')"
    printf %s "${json#*modes}" | grep -oE '"(kl_mean|weight_bytes)": [-0-9.e]+' | cut -d' ' -f2 | paste -sd ' ' >"$work/kl"
    awk '{ line = $2 + ($6 - $2) * ($1 - $3) / ($1 - $5); exit !($5 < $3 && $3 < $1 && $4 < line) }' "$work/kl" &&
        ok "compare: mixed is below the line" || bad "compare: mixed is below the line" "$(cat "$work/kl")"
    XDG_CACHE_HOME="$work/mixed" "$llmrun" plan --model $demo --ram 12M 2>&1 | grep -q 'weights mixed' && ok "plan: auto mixes" ||
        bad "plan: auto mixes" "$(ls -R "$work/mixed")"
    exits 7 'compare --sensitivity' run --model $demo --quant mixed --no-cache -p x
    exits 2 'q9' compare --model $demo --modes f16,q9
    exits 5 "$work/none" compare --model $demo --text "$work/none"
    : >"$work/empty"
    exits 2 'no token to predict' compare --model $demo --text "$work/empty"
    exits 2 'not an option of llmrun compare' compare --quant f16

    # Ctrl-C, ever later, until the command ends: then its figures are those of one that was left alone, and nothing stays.
    figures() { grep -oE '"(kl_|perplexity|same_top|rms|layer_errors)[a-z_0-9]*": [^]}"]*'; }
    long() { XDG_CACHE_HOME="$work/interrupted" timeout --preserve-status -s INT "$1" "$llmrun" compare --model $demo -c 64 -n 2000 \
        --modes q8_0,q4_k --json </dev/null 2>>"$work/err"; }
    want=$(long 300 | figures)
    : >"$work/err"
    for delay in 0.2 0.25 0.3 0.4 0.5 0.7 0.9 1.2 1.6 2 2.6 3.4 4.5 6 8 10 300; do
        got=$(long $delay) && break
    done
    same "compare: interrupted and resumed" "$want" "$(printf %s "$got" | figures)"
    grep -q 'goes on where it was interrupted' "$work/err" && ok "compare: resumes" || bad "compare: resumes" "$(cat "$work/err")"
    same "compare: its state goes when it is done" "" "$(find "$work/interrupted" -name '*.state' -o -name '*.tmp')"
    head -c 300 /dev/zero | tee "$work"/interrupted/llmrun/compare-{0,1,2,3}.state >/dev/null
    : >"$work/err"
    same "compare: a damaged state is left out" "$want" "$(long 300 | figures)"
    same "compare: and one line says so" 1 "$(grep -c 'is damaged; it is removed' "$work/err")"
    small=$shared/models/TinyStories-656K
    if [ -f $small/model.safetensors ]; then
        "$llmrun" compare --model $small -n 40 --modes q4_k --kv f16,q8_0 >"$work/out" 2>"$work/err" </dev/null
        same "compare: a mode that cannot run is a row" 0 $?
        grep -q 'q4_k: 14 tensors fell back' "$work/out" && grep -q 'q8_0 .*expected heads' "$work/out" &&
            ok "compare: what fell back, what failed" || bad "compare: what fell back, what failed" "$(cat "$work/out")"
    else
        echo "skip - compare: $small is not here"
    fi
else
    echo "skip - compare: $demo is not here"
fi

# ---- GPUs: simulated ones, and cards that are not there ----

"$llmrun" plan --model "$shape" --gpu 1G:900:80:25 >"$work/out" 2>"$work/err"
same "plan --gpu: exit 0" 0 $?
for text in 'GPU 0' 'layers 0-1' 'memory 900 GB/s, f16 80.0 TFLOP/s, link 25.0 GB/s' 'decode about'; do
    grep -qF "$text" "$work/out" && ok "plan --gpu: $text" || bad "plan --gpu: $text" "$(cat "$work/out" "$work/err")"
done
"$llmrun" plan --model "$shape" --gpu 2x1G --json 2>"$work/err" | "$json_check" devices layers tensors hash >/dev/null
same "plan --gpu --json: one document" 0 "${PIPESTATUS[0]}"
"$llmrun" devices --sim-gpus 2x512M:900:80 | grep -c 'simulated' >"$work/out"
same "devices --sim-gpus: both are listed" 2 "$(cat "$work/out")"

demo=models/demo
gpus() { "$llmrun" run --model $demo --raw --temp 0 -n 6 -p 'Once upon a time' --no-cache -c 128 "$@" </dev/null 2>"$work/err"; }
if [ -e $demo/model.safetensors ]; then
    for quant in f16 q4_k; do
        want=$(gpus --device cpu --quant $quant)
        for set in 1x64M 2x64M 3M,5M,2M,8M 1x5M; do
            same "$quant on $set: the CPU's text" "$want" "$(gpus --sim-gpus $set --quant $quant)"
        done
    done
    "$llmrun" compare --model $demo -n 8 -c 8 --modes q8_0 --sim-gpus 3M,5M --no-cache --json </dev/null 2>"$work/err" >"$work/out"
    grep -q '"gpus": 2,.*"layer_errors": \[0.0[0-9, .]*\]' "$work/out" && ok "compare: errors of layers on GPUs and the CPU" ||
        bad "compare: errors of layers on GPUs and the CPU" "$(cat "$work/out" "$work/err")"
    same "--vram is a cap" "$(gpus --device cpu --quant f16)" "$(gpus --sim-gpus 1x64M --vram 6M --quant f16 --stats)"
    grep -qE 'planned [0-9.]+ MB, peak [0-9.]+ MB, budget 6.3 MB' "$work/err" && grep -qE '[1-9] of 8 layers on the CPU' "$work/err" &&
        ok "--vram: peak and layers are told" || bad "--vram: peak and layers are told" "$(cat "$work/err")"
    "$llmrun" plan --model $demo --sim-gpus 2x64M --quant q8_0 -c 128 --no-cache --json >"$work/plan.json" 2>"$work/err"
    same "--plan: replayed" "$(gpus --sim-gpus 2x64M --quant q8_0)" "$(gpus --sim-gpus 2x64M --plan "$work/plan.json")"
    exits 4 'plan' --model $demo --sim-gpus 1x64M --plan "$work/plan.json" -p x
    exits 2 'sizes for 1 GPU' --model $demo --sim-gpus 1x64M --vram 8M,8M -p x
    gpus --sim-gpus 1x64K >"$work/out"
    same "a GPU without room for a layer: exit 3" 3 $?
    grep -q -- '--device cpu' "$work/err" && ok "and its remedies" || bad "and its remedies" "$(cat "$work/err")"
fi
tiny=$shared/models/TinyStories-656K
if [ -e $tiny/model.safetensors ]; then
    tiny() { "$llmrun" run --model $tiny --device sim --quant f16 -c 512 --raw --temp 0 -n 4 -p 'Once' --no-cache --stats "$@" </dev/null 2>"$work/err"; }
    tiny --sim-gpus 1x1M >/dev/null
    grep -q '1 of 2 layers on the CPU' "$work/err" && ok "1x1M: one of two layers on the CPU" || bad "1x1M" "$(cat "$work/err")"
    tiny --sim-gpus 1x2M >/dev/null
    grep -q 'stats: 0 of 2 layers on the CPU' "$work/err" && ok "1x2M: whole on the GPU" || bad "1x2M" "$(cat "$work/err")"
    tiny --sim-gpus 1x64K >/dev/null
    same "1x64K: exit 3" 3 $?
else
    echo "skip - TinyStories on simulated GPUs: $tiny is not here"
fi

# ---- text ----

run() { "$llmrun" --model "$model" --temp 0 "$@" </dev/null 2>"$work/err"; }

# check_memory MODEL OPTIONS..: peak - mapped <= planned + 32 MiB, from --json.
check_memory() {
    local at=$1 json peak mapped planned
    shift
    json=$("$llmrun" --model "$at" --raw -p "Once upon a time" -n 40 --temp 0 --json --no-cache "$@" </dev/null 2>"$work/err")
    peak=$(figure "$json" peak_rss_bytes) mapped=$(figure "$json" mapped_bytes) planned=$(figure "$json" planned_bytes)
    if [ -n "$peak" ] && [ $((peak - mapped)) -le $((planned + (32 << 20))) ]; then
        ok "memory: ${at##*/} $*"
    else
        bad "memory: ${at##*/} $*" "peak $peak - mapped $mapped is above planned $planned + 32 MiB; $(cat "$work/err")"
    fi
}
figure() { printf %s "$1" | sed -n "s/.*\"$2\": \([0-9]*\).*/\1/p"; }

stories=$shared/models/stories260K
model=$stories
if [ -f $model/model.safetensors ]; then
    text=$(run --raw -p "" -n 200)
    case $text in
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red \
ball. She wanted to play with it, but it was too high."*) ok "the text published for stories260K" ;;
    *) bad "the text published for stories260K" "$text" ;;
    esac
else
    echo "skip - published text: $model is not here"
fi

model=models/demo
if [ -f $model/model.safetensors ]; then
    story="Once upon a time there was a king who had three daughters, and the youngest was"
    text=$(run --raw -p "$story" -n 60)
    [ "$(printf %s "$text" | wc -w)" -gt 20 ] && ok "the demo model speaks" || bad "the demo model speaks" "$text"
    [ ! -s "$work/err" ] && ok "quiet stderr" || bad "quiet stderr" "$(cat "$work/err")"
    if [ -d "${llmrun%/*}/../models/demo" ]; then
        same "no --model: the demo model" "$text" "$("$llmrun" --temp 0 -p "$story" -n 60 </dev/null)"
    else
        echo "skip - no --model: the program is not beside models/demo"
    fi
    same "same text with one thread" "$text" "$(run --raw -p "$story" -n 60 -t 1)"
    same "same text in small chunks" "$(run --raw -p "$story" -n 20)" "$(run --raw -p "$story" -n 20 -b 3)"
    same "stop string" "${text%% the *}" "$(run -p "$story" -n 60 --stop ' the ' --stop zebra)"
    same "stdin is the prompt" "$(run -p "$story" -n 10)" "$(printf %s "$story" | "$llmrun" --model $model --temp 0 -n 10 2>/dev/null)"
    printf %s "$story" >"$work/prompt"
    same "a file is the prompt" "$(run -p "$story" -n 10)" "$(run -f "$work/prompt" -n 10)"
    same "prompt and stdin" "$(run -p $'Once upon\n\nthere was' -n 10)" \
        "$(printf 'there was' | "$llmrun" --model $model --temp 0 -p "Once upon" -n 10 2>/dev/null)"
    same "same seed" "$(run --temp 1 -p "$story" -n 40 --seed 7)" "$(run --temp 1 -p "$story" -n 40 --seed 7)"
    if run -p "$story" -n 20 --json | "$json_check" text finish prompt_tokens generated_tokens prefill_seconds decode_seconds logits_hash &&
        [ ! -s "$work/err" ]; then ok "run --json"; else bad "run --json" "$(cat "$work/err")"; fi
    run -p "$story" -n 20 --stats >"$work/out"
    same "stats: one line on stderr" 1 "$(wc -l <"$work/err")"
    grep -q '^stats: .*tok/s.*GB/s.*logits [0-9a-f]\{16\}$' "$work/err" && ok "stats: figures" || bad "stats: figures" "$(cat "$work/err")"
    same "stats: stdout unchanged" "$(run -p "$story" -n 20)" "$(cat "$work/out")"

    run -p "$story" --logits "$work/logits.npy" >"$work/out"
    same "logits: nothing on stdout" 0 "$(wc -c <"$work/out")"
    shape=$(head -c 128 "$work/logits.npy" | tail -c 118 | tr -dc '0-9, ()' | grep -o '([0-9]*, [0-9]*)')
    n_ids=$("$llmrun" tokenize --model $model --ids -p "$story" </dev/null | wc -w)
    same "logits: shape" "($n_ids, 4096)" "$shape"
    same "logits: size" $((128 + n_ids * 4096 * 4)) "$(wc -c <"$work/logits.npy")"

    # Memory: what the process held at most, less mapped files, is what was planned and the program itself.
    for options in "" "--quant q8_0 -c 256" "--quant q4_k --kv q8_0" "--quant f32 --kv f32 -c 64" "--no-mmap"; do
        # shellcheck disable=SC2086 # options and values
        check_memory $model $options
        # shellcheck disable=SC2086 # its heads are too short for q8_0
        [ -f $stories/model.safetensors ] && check_memory $stories ${options/--kv q8_0/--kv f16}
    done

    # A chat template: the prompt is a message, --raw completes it.  The demo vocabulary spells the form out.
    mkdir "$work/chat"
    cp $model/* "$work/chat/"
    chatml="{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    chatml="$chatml{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    echo "$chatml" >"$work/chat/chat_template.jinja"
    form() { "$llmrun" --model "$work/chat" --temp 0 -n 8 "$@" </dev/null 2>"$work/err"; }
    turn=$'<|im_start|>user\nOnce upon<|im_end|>\n<|im_start|>assistant\n'
    n_ids=$("$llmrun" tokenize --model $model --ids --no-bos -p "$turn" </dev/null | wc -w)
    same "chat template: one message" "$n_ids" "$(figure "$(form -p 'Once upon' --json)" prompt_tokens)"
    grep -q "^llmrun: using the model's chat template" "$work/err" && ok "chat template: told" || bad "chat template: told" "$(cat "$work/err")"
    same "chat template: --chat is the default" "$(form -p 'Once upon')" "$(form --chat -p 'Once upon')"
    same "chat template: --raw" "$(run --raw -p 'Once upon' -n 8)" "$(form --raw -p 'Once upon')"
    same "chat template: --raw is quiet" "" "$(cat "$work/err")"
    n_ids=$("$llmrun" tokenize --model $model --ids --no-bos -p $'<|im_start|>system\nBe kind<|im_end|>\n'"$turn" </dev/null | wc -w)
    same "chat template: --system" "$n_ids" \
        "$(figure "$(form -p 'Once upon' -sys 'Be kind' --json)" prompt_tokens)"
    exits 7 'no chat template' --model $model --system x -p x
    same "--chat-template" "$(form -p 'Once upon')" \
        "$(run --chat-template "$work/chat/chat_template.jinja" -p 'Once upon' -n 8)"
    echo '{{ messages[0].content }}' >"$work/plain.jinja"
    same "--chat-template before the model's" "$("$llmrun" tokenize --model $model --ids --no-bos -p 'Once upon' </dev/null | wc -w)" \
        "$(figure "$(form -p 'Once upon' --chat-template "$work/plain.jinja" --json)" prompt_tokens)"
    exits 2 'contradict' --raw --chat-template "$work/plain.jinja" -p x
    exits 5 "$work/no.jinja" --model $model --chat-template "$work/no.jinja" -p x
    echo '{% if x %}' >"$work/bad.jinja"
    exits 4 'line 1: expected endif, got the end of the template; --raw completes' --model $model --chat-template "$work/bad.jinja" -p x
    echo '{% include "x" %}' >"$work/bad.jinja"
    exits 7 'the tag {% include %} is not supported' --model $model --chat-template "$work/bad.jinja" -p x
    echo "{{ raise_exception('no, thanks') }}" >"$work/bad.jinja"
    exits 2 'no, thanks' --model $model --chat-template "$work/bad.jinja" -p x
    echo "{% for i in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}" >"$work/bad.jinja"
    exits 7 'too many steps' --model $model --chat-template "$work/bad.jinja" -p x

    exits 8 'context' --model $model -p "$story" -c 8
    exits 2 '' --model $model -p x --quant q9
    exits 5 "$work/no/file" --model $model -p x --logits "$work/no/file"
    "$llmrun" --model $model -p "$story" -n 500 --temp 0 </dev/null 2>"$work/err" | head -c 20 >/dev/null
    same "closed pipe: the program's status" 0 "${PIPESTATUS[0]}"
    same "closed pipe: quiet" 0 "$(grep -vc 'context' "$work/err")"
    "$llmrun" --model $model -p "$story" -n 200 </dev/null >/dev/full 2>"$work/err"
    same "text to a full disk" 5 $?

    for command in plan info; do
        if "$llmrun" $command --model $model --json 2>"$work/err" | "$json_check" && [ ! -s "$work/err" ]; then
            ok "$command --json"
        else
            bad "$command --json" "$(cat "$work/err")"
        fi
    done
    same "info of a model that also sees pictures" 'supported   yes, text only: 21 tensors for pictures are not used' \
        "$("$llmrun" info --model tests/golden/models/qwen3-vl </dev/null | tail -n 1)"
    same "info of weights that no run format has as they are" 'weights     7 tensors packed, 98.3 KB' \
        "$("$llmrun" info --model tests/golden/packed/gptq-8-asym </dev/null | grep packed)"
    "$llmrun" plan --model $model --ram 100K >"$work/out" 2>"$work/err"
    same "refusal: exit 3" 3 $?
    same "refusal: nothing on stdout" 0 "$(wc -c <"$work/out")"
    grep -q 'needs .* available' "$work/err" && ok "refusal: needed and available" || bad "refusal" "$(cat "$work/err")"
    remedy=$(grep -oE -- '--ram [0-9]+' "$work/err" | head -n 1)
    # shellcheck disable=SC2086 # option and value
    "$llmrun" plan --model $model $remedy >/dev/null 2>"$work/err" && [ -n "$remedy" ] &&
        ok "refusal: its remedy fits" || bad "refusal: its remedy fits" "\"$remedy\": $(cat "$work/err")"

    # A damaged model: every cut of the file is refused with exit 4, and no text.
    mkdir "$work/cut"
    cp $model/*.json "$work/cut/"
    for size in 0 7 100 20000; do
        head -c $size $model/model.safetensors >"$work/cut/model.safetensors"
        exits 4 'model.safetensors' --model "$work/cut" -p x
    done

    mkdir "$work/only"
    cp $model/tokenizer.json "$work/only/"
    "$llmrun" tokenize --model "$work/only" --ids -p 'Hello world' </dev/null | grep -qE '^[0-9]+( [0-9]+)*$' &&
        ok "tokenize needs tokenizer.json alone" || bad "tokenize" "no ids"
    "$llmrun" tokenize --model "$work/only/tokenizer.json" --json -p 'Hello world' </dev/null | "$json_check" tokens n_tokens &&
        ok "tokenize --json" || bad "tokenize --json" "not JSON"

    # A chat on a terminal: script(1) gives one.
    if command -v script >/dev/null; then
        chat() { printf "$1" | HOME=$work XDG_STATE_HOME=$work/state script -qec "$llmrun --model $model --temp 0 -n 8" /dev/null; }
        chat 'Once upon\n/stats\n/regen\n/undo\n/set temp 0.5\n/nonsense\n/bye\n' >"$work/out" 2>&1
        same "chat: leaves with /bye" 0 $?
        for text in '/? for help' 'no chat template' 'stats: prompt' '0 messages left' 'unknown command /nonsense'; do
            grep -qF "$text" "$work/out" && ok "chat: $text" || bad "chat: $text" "$(tail -c 600 "$work/out")"
        done
        model=$work/chat
        chat "/system Be kind\nOnce upon\nAnd then\n/save $work/talk\n/undo\n/regen\n/stats\n/save $work/talk1\n/clear\n/load $work/talk1\n/bye\n" \
            >"$work/out" 2>&1
        same "chat template: leaves with /bye" 0 $?
        for text in "using the model's chat template" '1 messages left' 'loaded 3 messages'; do
            grep -qF "$text" "$work/out" && ok "chat template: $text" || bad "chat template: $text" "$(tail -c 600 "$work/out")"
        done
        same "chat template: what is saved" "llmrun chat 2;system 7;user 9;user 8" \
            "$(grep -aE '^(llmrun chat|system [0-9]|user [0-9])' "$work/talk" | paste -sd ';')"
        grep -qE 'stats: prompt [0-9]+ tokens \([1-9][0-9]* reused\)' "$work/out" && ok "chat template: the session is reused" ||
            bad "chat template: the session is reused" "$(tail -c 600 "$work/out")"
    else
        echo "skip - chat: no script(1) here"
    fi
else
    echo "skip - text: $model is not here"
fi

exit $status
