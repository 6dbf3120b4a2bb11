#!/usr/bin/env bash
# One lease of two H100s for what issues 18, 19 and 20 still need (runs-to-make.md).
# Chains, each on a GPU and cores of its own; a log each in $OUT; nothing waits for another's
# failure. Needs .whl (tyro, docstring-parser, typeguard, pytest, pluggy, iniconfig, packaging,
# pygments) and everything copied to $PWD.
set -u
export VIREID_COMMIT=${1:?commit} PYTHONUNBUFFERED=1 PYTHONPATH=$PWD/src:${PYTHONPATH:-}
W=${2:-/dev/shm/lease}
mkdir -p "$W" "$OUT"
say() { echo "$(date +%T) $*" >>"$OUT/lease.log"; }
say "$(nvidia-smi -L | tr '\n' ' ') $(nproc) cores"
chain() { # GPUs, cores; name and limit in seconds of each command, from standard input: NAME LIMIT COMMAND
  while read -r name limit command; do
    say "GPU $1: $name begins"
    CUDA_VISIBLE_DEVICES=$1 taskset -c "$2" timeout "$limit" bash -c "$command" >"$OUT/$name.log" 2>&1 </dev/null
    say "GPU $1: $name ended with $?"
  done
}
chain 0 0-15 <<END &
cold-agw 150 python3 benchmarks/cold_start.py --kernels own --rows agw/resnet18 --name cold-start-agw
cold 250 python3 benchmarks/cold_start.py --kernels own,mixed --rows mcl/resnet50
step 200 python3 benchmarks/step.py --engines graph
step-small 100 python3 benchmarks/step.py --method agw --arch resnet18 --engines graph --no-published
dns 120 python3 benchmarks/step.py --all-methods --only dns --kernels mixed,own --steps 40
folded 60 python3 benchmarks/folded.py
END
chain 1 16-31 <<END &
kernels 100 python3 -m pytest -q -p no:cacheprovider tests/models/test_norm_kernels.py tests/models/test_fused.py
engines 500 python3 -m pytest -q -p no:cacheprovider tests/training/test_engine_cuda.py
resume 200 python3 benchmarks/cuda_resume.py --method dns --engines graph
parity 200 python3 benchmarks/parity.py --recipes clean --runs 4 --kernels mixed
sharing 200 python3 benchmarks/sharing.py
END
wait
chain 0,1 0-31 <<END
two 150 python3 benchmarks/multi_gpu.py --gpus 1,2
END
chain 0 0-15 <<END
extraction 200 python3 benchmarks/extraction.py
END
say "done"
