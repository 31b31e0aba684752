#!/bin/sh
# Proves that checkkernels can fail: each planted defect must turn it red.  usage: test_plant.sh CHECKKERNELS
check=${1:-build/tests/checkkernels}
failed=0
for kind in value guard nan split; do
    for kernel in swiglu_planted matmul_q8_0_planted; do
        if "$check" --seed 1 --only $kernel --plant $kind >/dev/null; then
            echo "FAIL checkkernels did not notice --plant $kind in $kernel"
            failed=1
        fi
    done
done
[ $failed = 0 ] && echo "8 planted kernels found"
exit $failed
