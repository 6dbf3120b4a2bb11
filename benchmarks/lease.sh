#!/usr/bin/env bash
# One lease of four GPUs for what issues 15 and 18 still need (runs-to-make.md).
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
chain 0 0-15 < <(backbone vit vit_small_patch16_224) &
chain 1 16-31 < <(backbone convnext convnext_tiny) &
chain 2 32-47 < <(backbone lite2 tf_efficientnet_lite2) &
chain 3 48-63 <<END &
trials 200 python3 benchmarks/gpu_smoke.py --only trials
averages 200 python3 -m pytest -q -p no:cacheprovider tests/training/test_engine_cuda.py -k averaging
# cold 600 python3 benchmarks/cold_start.py (issue 19: once its way is chosen; without this line's first character)
END
wait
say "done"
