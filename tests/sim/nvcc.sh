#!/bin/bash
# The portable dialect is CUDA: the test kernels compile with nvcc, without a warning, for each generation.
# Usage: tests/sim/nvcc.sh [NVCC]   Status 77 where there is no nvcc.
nvcc=${1:-nvcc}
cd "$(dirname "$0")/../.." || exit 2
command -v "$nvcc" >/dev/null || { echo "skip - nvcc is not installed"; exit 77; }
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
targets=()
for sm in 75 80 90 120; do targets+=(-gencode "arch=compute_$sm,code=sm_$sm"); done
"$nvcc" -std=c++17 -I. -Werror all-warnings "${targets[@]}" -c tests/sim/kernels.cu -o "$out/kernels.o" || exit 1
echo "ok - kernels.cu for sm_75 sm_80 sm_90 sm_120"
