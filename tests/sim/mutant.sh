#!/bin/bash
# A barrier that is missing in a kernel of the product turns checkkernels red: the first __syncthreads of block_reduce is
# taken out, the norm is compiled with that, and its check must fail, nothing else.
# Usage: tests/sim/mutant.sh [BUILD]   BUILD has the simulator's objects and checkkernels.
build=${1:-build}
cd "$(dirname "$0")/../.." || exit 2
mutant=$(mktemp -d) || exit 1
trap 'rm -rf "$mutant"' EXIT
mkdir -p "$mutant/kernels/cuda"
awk '/__syncthreads\(\);/ && !gone { gone = 1; next } { print } END { exit !gone }' kernels/cuda/pack.cuh \
    >"$mutant/kernels/cuda/pack.cuh" || { echo "pack.cuh has no barrier" && exit 1; }
"${CXX:-g++}" -std=c++17 -I"$mutant" -I. -Ikernels/sim -ffp-contract=off -fPIC -fvisibility=hidden -O2 -x c++ -c \
    kernels/cuda/norm.cu -o "$mutant/norm.o" || exit 1
objects=("$mutant/norm.o" "$build"/kernels/{act,gpu_facts,kv}.o "$build"/runtime/base.o)
for source in quant/*.c kernels/sim/*.cpp; do objects+=("$build/${source%.*}.o"); done
for source in kernels/cuda/*.cu; do
    case $source in */norm.cu | */hardware.cu | */nvml.cu) ;; *) objects+=("$build/$source.o") ;; esac
done
"${CXX:-g++}" -shared -Wl,--no-undefined -Wl,--version-script=kernels/backend.map -o "$mutant/libllmrun-sim.so" \
    "${objects[@]}" -lpthread -lm || exit 1
cp "$build/tests/checkkernels" "$mutant/" || exit 1
"$mutant/checkkernels" --device sim --only sim.pack || { echo "the mutant breaks more than the norm" && exit 1; }
"$mutant/checkkernels" --device sim --only sim.norm
[ $? -eq 1 ]
