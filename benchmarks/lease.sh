#!/usr/bin/env bash
# One lease of four GPUs for what issues 17, 18, 20 and 23 still need (runs-to-make.md).
# Four chains, one a GPU, then what needs all four; a log each in $OUT; nothing waits for another's
# failure. Needs .whl (tyro, docstring-parser, typeguard, pytest, pluggy, iniconfig, packaging,
# pygments, and lite2's .pth) and everything copied to $PWD.
set -u
export VIREID_COMMIT=${1:?commit} PYTHONUNBUFFERED=1
W=${2:-/dev/shm/lease}
mkdir -p "$W" "$OUT"
say() { echo "$(date +%T) $*" >>"$OUT/lease.log"; }
chain() { # GPU, name and limit in seconds of each command, from standard input: NAME LIMIT COMMAND
  while read -r name limit command; do
    say "GPU $1: $name begins"
    CUDA_VISIBLE_DEVICES=$1 timeout "$limit" bash -c "$command" >"$OUT/$name.log" 2>&1 </dev/null
    say "GPU $1: $name ended with $?"
  done
}
chain 0 <<END &
steps 900 python3 benchmarks/step.py --all-methods --images 4740 --steps 50
END
chain 1 <<END &
engines 500 python3 -m pytest -q -p no:cacheprovider tests/training/test_engine_cuda.py tests/data/test_augment_of_later_methods.py tests/data/test_augment.py tests/evaluation/test_cuda.py
trials 240 python3 benchmarks/gpu_smoke.py --only trials
resume 400 python3 benchmarks/cuda_resume.py --method dns --engines graph --kills 2 --steps 400
END
chain 2 <<END &
backbones 700 python3 benchmarks/backbones.py --work $W/backbones --epochs 20
start 500 python3 benchmarks/backbones.py --work $W/backbones --start .whl/lite2.pth --epochs 20
END
chain 3 <<END &
parity 700 python3 benchmarks/parity.py --recipes clean --runs 4 --options ema=0.99 clip_norm=5 freeze_epochs=3
END
wait
chain 0,1,2,3 <<END
multi 300 python3 benchmarks/multi_gpu.py --gpus 1,2,4 --variants --limit 280
ranks 400 python3 -m pytest -q -p no:cacheprovider tests/runtime/test_ranks.py -k graph-4
END
say "done"
