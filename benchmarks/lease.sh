#!/usr/bin/env bash
# One lease of four GPUs for what issues 18, 19, 20 and 23 still need (runs-to-make.md).
# Four chains, each on a GPU and 16 cores of its own, then what needs all four; a log each in $OUT;
# nothing waits for another's failure. Needs .whl (tyro, docstring-parser, typeguard, pytest, pluggy,
# iniconfig, packaging, pygments, lite2's weights as lite2-half.pth) and everything copied to $PWD.
set -u
export VIREID_COMMIT=${1:?commit} PYTHONUNBUFFERED=1
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
python3 -c "
import torch
from pathlib import Path
half = torch.load('.whl/lite2-half.pth', weights_only=True)
torch.save({k: v.float() if v.is_floating_point() else v for k, v in half.items()}, '$W/lite2.pth')"
chain 0 0-15 <<END &
steps 900 python3 benchmarks/step.py --all-methods --images 4740 --steps 50
trials 200 python3 benchmarks/gpu_smoke.py --only trials
END
chain 1 16-31 <<END &
engines 450 python3 -m pytest -q -p no:cacheprovider tests/training/test_engine_cuda.py tests/data/test_augment_of_later_methods.py tests/data/test_augment.py tests/evaluation/test_cuda.py
cold 620 bash .whl/cold.sh
END
chain 2 32-47 <<END &
backbones 700 python3 benchmarks/backbones.py --work $W/backbones --epochs 20
resume 350 python3 benchmarks/cuda_resume.py --method dns --engines graph --kills 2 --steps 400
END
chain 3 48-63 <<END &
parity 650 python3 benchmarks/parity.py --recipes clean --runs 4 --options ema=0.99 clip_norm=5 freeze_epochs=3
start 450 python3 benchmarks/backbones.py --work $W/start --start $W/lite2.pth --epochs 20
END
wait
chain 0,1,2,3 0-63 <<END
multi 420 env TORCHINDUCTOR_COMPILE_THREADS=4 OMP_NUM_THREADS=4 python3 benchmarks/multi_gpu.py --gpus 1,2,4 --variants --steps 60 --limit 400
ranks 300 python3 -m pytest -q -p no:cacheprovider tests/runtime/test_ranks.py -k graph-4
END
say "done"
