#!/bin/bash
# Reads the machine code of the hot kernels, which needs nvcc but no GPU: registers that spill, 16-byte loads, tensor cores.
# Usage: tests/gpu/sass.sh [ARCH..]     default 75 80 90; tables in $RESULTS/sass-ARCH (default build/gpu)
#   spills     by ptxas: none above SPILL_BYTES (default 48) a thread, which are a few accesses in loops of thousands of
#              instructions (tests/gpu/RESULTS.md names the kernels)
#   loads      by cuobjdump, from the path or CUOBJDUMP: products of a few tokens read weights 16 bytes at a time, but for
#              the block formats whose rows are not aligned to that (8 bytes), and rows of odd length
#   loops      the same: instructions for 16 bytes of weights in the loops of products of one token.  A GPU of 132
#              multiprocessors at 1.755 GHz issues 110 of them in the time in which 4.3 TB/s bring the bytes
#   cores      the same: long products and attention of many rows are HMMA; 4-bit products of several tokens IMMA
#   early      from sm_90 on, kernels of decode wait for the queue themselves
# One architecture takes some minutes on two cores.  Status 77: neither nvcc nor anything to check.
cd "$(dirname "$0")/../.." || exit 2
RESULTS=${RESULTS:-build/gpu}
NVCC=${NVCC:-nvcc}
CUOBJDUMP=${CUOBJDUMP:-cuobjdump}
SPILL_BYTES=${SPILL_BYTES:-48}
FILES="gemv gemv_glu gemm attention_few attention_many"
mkdir -p "$RESULTS" || exit 2
command -v "$NVCC" >/dev/null || { echo "nvcc is not on the path" && exit 77; }
status=0

# One line a kernel: name, registers, spilled bytes.
registers() {
    grep -hE "Compiling entry|spill stores|Used [0-9]+ registers" "$@" | sed -E "s/^.*entry function '([^']*)'.*/\1/" |
        awk '/spill stores/ { spill = $5 } /Used/ { print name, $5, spill } NF == 1 { name = $1 }'
}

# One line a kernel: name, loads, 16-byte loads, 8-byte loads, HMMA, IMMA, accesses to local memory, waits for the queue.
instructions() {
    for cubin in "$@"; do "$CUOBJDUMP" -sass "$cubin"; done | awk '
        /Function : / { name = $3; seen[name] = 1 }
        / LDG\./ { all[name]++ }
        / LDG[.A-Z0-9]*\.128[. ]/ { wide[name]++ }
        / LDG[.A-Z0-9]*\.64[. ]/ { half[name]++ } # of addresses .64 is said too
        / HMMA/ { hmma[name]++ }
        / IMMA/ { imma[name]++ }
        / (LDL|STL)/ { local[name]++ }
        / ACQBULK/ { waits[name]++ }
        END { for (n in seen) print n, all[n] + 0, wide[n] + 0, half[n] + 0, hmma[n] + 0, imma[n] + 0, local[n] + 0, waits[n] + 0 }' | sort
}

# One line a kernel for products of one token: name, instructions of the loop that reads weights, its 16-byte reads of
# weights, which are the loads that leave the cache first.
loops() {
    for cubin in "$@"; do "$CUOBJDUMP" -sass "$cubin"; done | awk '
        function end_of_kernel() {
            if (name ~ /k_gemvI.*Li1EEv/ && best) print name, best, wide
            n = best = wide = 0
            split("", place)
        }
        /Function : / { end_of_kernel(); name = $3 }
        match($0, /^[ \t]*\/\*[0-9a-f]+\*\/[ \t]/) {
            address = $1
            gsub(/[^0-9a-f]/, "", address)
            place[address] = ++n
            reads[n] = reads[n - 1] + / LDG\.E\.EF\.128/
            if (!match($0, /BRA[^;]* 0x[0-9a-f]+/)) next
            target = substr($0, RSTART, RLENGTH)
            sub(/.* 0x/, "", target)
            while (length(target) < 4) target = "0" target
            first = place[target]
            if (first && reads[n] - reads[first - 1] > wide) {
                best = n - first + 1
                wide = reads[n] - reads[first - 1]
            }
        }
        END { end_of_kernel() }' | sort
}

# must WHAT PATTERN CONDITION: every kernel of that name (and there is one) meets the condition on the columns.
must() {
    awk -v what="$1" -v pattern="$2" '
        $1 ~ pattern { n++; if (!('"$3"')) { print "      " $0; bad++ } }
        END { printf "  %-4s  %s: %d kernels, %d without\n", n && !bad ? "ok" : "FAIL", what, n, bad; exit !n || bad }' \
        "$RESULTS/sass-$arch" || status=1
}

check() {
    local arch=$1 dir=$RESULTS/cubin-$1 file cubins=()
    mkdir -p "$dir"
    echo "sm_$arch"
    for file in $FILES; do
        "$NVCC" -std=c++17 -I. -O3 -gencode "arch=compute_$arch,code=sm_$arch" -Xptxas -v -cubin -o "$dir/$file.cubin" \
            "kernels/cuda/$file.cu" >"$dir/$file.log" 2>&1 || { tail "$dir/$file.log" && status=1 && return; }
        cubins+=("$dir/$file.cubin")
    done
    registers "$dir"/*.log >"$RESULTS/registers-$arch"
    awk -v most="$SPILL_BYTES" '{ n++ } $3 > 0 { some++; if ($3 > most) { print "      " $0; bad++ } }
        END { printf "  %-4s  registers: %d kernels, %d spill, %d more than %d bytes\n", n && !bad ? "ok" : "FAIL", n, some,
              bad, most; exit !n || bad }' "$RESULTS/registers-$arch" || status=1
    command -v "$CUOBJDUMP" >/dev/null || { echo "  skip  loads and tensor cores: no cuobjdump" && return; }
    instructions "${cubins[@]}" >"$RESULTS/sass-$arch"
    must "16-byte loads of weights" 'k_gemv.*(dot_float.*_typeLi[48]|dot_q8_0|dot_q4_k|dot_block_q4_k|dot_iq4_nl|dot_table|dot_u4|dot_i8|dot_fp8|block_q5_k)' '$3 > 0'
    must "8-byte loads of blocks" 'k_gemv.*(block_32|block_table|block_q[236]_k)' '$4 + $3 > 0'
    # Turing has no bf16 there; the table of gemm_table.cuh does not offer these kernels to it.
    must "long products on tensor cores" '_Z[0-9]*k_gemm' "\$5 > 0 || ($arch < 80 && /tile_16_bitsILb1E/)"
    must "attention on tensor cores" 'k_(many|few)I' '$5 > 0'
    must "several tokens on tensor cores" 'k_gemv(_glu)?_tile' '$6 > 0'
    [ "$arch" -lt 90 ] || must "kernels launched early wait" 'k_(gemv|gemv_tile|gemv_glu|gemv_glu_tile|few|merge)I' '$8 > 0'
    loops "${cubins[@]}" >"$RESULTS/loops-$arch"
    grep -E 'dot_(float.*Li[48]|q8_0|q4_k|iq4_nl|table|u4|i8|fp8)' "$RESULTS/loops-$arch" | awk '
        { printf "        %5d instructions, %2d x 16 bytes: %5.1f each  %s\n", $2, $3, $2 / $3, $1; many += $2 > 128 * $3 }
        END { printf "  %-4s  at most 128 instructions for 16 bytes\n", NR && !many ? "ok" : "FAIL"; exit !NR || many }' || status=1
}

[ $# -eq 0 ] && set -- 75 80 90
for name in "$@"; do check "$name"; done
exit $status
