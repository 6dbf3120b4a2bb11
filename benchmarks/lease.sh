#!/usr/bin/env bash
# One lease of four GPUs for what issues 15, 18, 19 and 20 still need (runs-to-make.md).
# Four chains, each on a GPU and 16 cores of its own; a log each in $OUT; nothing waits for another's
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
    [[ $name == \#* ]] && continue
    say "GPU $1: $name begins"
    CUDA_VISIBLE_DEVICES=$1 taskset -c "$2" timeout "$limit" bash -c "$command" >"$OUT/$name.log" 2>&1 </dev/null
    say "GPU $1: $name ended with $?"
  done
}
backbone() { # name and architecture: 16,000 steps, about 120 s of ViT-S, 180 of lite2, 250 of ConvNeXt-T
  echo "$1 700 python3 benchmarks/backbones.py --work $W/$1 --archs $2 --identities 400 --epochs 100 --name backbones-400-$1"
}
chain 0 0-15 <<END &
own 150 python3 -m pytest -q -p no:cacheprovider tests/models/test_norm_kernels.py tests/models/test_fused.py
cold 330 python3 benchmarks/cold_start.py --kernels own,mixed
cold-compiled 420 python3 benchmarks/cold_start.py --kernels compiled --together 0 --name cold-start-compiled
END
chain 1 16-31 <<END &
tiles 200 python3 benchmarks/kernels.py --tiles 32x64/4/528,64x64/4/528,64x64/8/528,32x128/8/528,16x64/4/528,32x64/4/264,32x64/4/1056,64x64/8/1056
methods 450 python3 benchmarks/step.py --all-methods --kernels own,mixed --images 4740 --steps 50
parity 300 python3 benchmarks/parity.py --recipes clean --runs 4 --kernels own
END
chain 2 32-47 < <(
  backbone vit vit_small_patch16_224
  echo "engines 500 python3 -m pytest -q -p no:cacheprovider tests/training/test_engine_cuda.py -k 'equals_eager or later or averaging or resume'"
) &
chain 3 48-63 < <(
  backbone lite2 tf_efficientnet_lite2
  backbone convnext convnext_tiny
  echo "trials 200 python3 benchmarks/gpu_smoke.py --only trials"
) &
wait
say "done"
