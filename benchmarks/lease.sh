#!/usr/bin/env bash
# What the next lease makes (runs-to-make.md): PART is `one`, for one H100, or `eight`, for eight GPUs
# and 128 cores. A log of each command in $OUT; nothing waits for another's failure.
#     bash benchmarks/lease.sh PART COMMIT SECONDS
# Needs .whl (tyro, docstring-parser, typeguard, pytest, pluggy, iniconfig, packaging, pygments), and
# everything copied to $PWD.
set -u
part=${1:?one or eight} seconds=${3:?how long}
export VIREID_COMMIT=${2:?commit} PYTHONUNBUFFERED=1 PYTHONPATH=$PWD/src:${PYTHONPATH:-}
W=/dev/shm/w
mkdir -p "$W" "$OUT"
say() { echo "$(date +%T) $*" >>"$OUT/lease.log"; }
left() { echo $((seconds - SECONDS)); } # SECONDS counts from this script's start
run() { # name, command
  local name=$1
  shift
  say "$name begins, $(left) s left"
  timeout "$(left)" "$@" >"$OUT/$name.log" 2>&1 </dev/null
  say "$name ended with $?"
}
say "$(nvidia-smi -L | tr '\n' ' ') $(nproc) cores"

if [ "$part" = one ]; then
  # PyTorch's files are read once before the first start, so that the disk's speed isn't measured.
  run files python3 -c "import vireid.bench.workload, triton, torch._inductor.compile_fx"
  run cold-agw python3 benchmarks/cold_start.py --kernels own --rows agw/resnet18 --name cold-start-agw
  # Where a warm start's seconds go: imports, and the rest by function.
  asked='{"method": "agw", "arch": "resnet18", "kernels": "own", "device": "auto", "seed": 1,
    "size": [288, 144], "num_pids": 206, "engine": "graph", "steps": 0, "began": 0}'
  run imports python3 -X importtime -c "import vireid.bench.workload, triton"
  run once python3 benchmarks/cold_start.py --one "$asked"
  run profile python3 -m cProfile -s cumtime benchmarks/cold_start.py --one "$asked"
  run cold-tries python3 benchmarks/cold_start.py --kernels own --rows agw/resnet18 --tries 3 \
    --together 0 --name cold-start-tries
  run extraction python3 benchmarks/extraction.py --weights none --files 0 \
    --variants "float16, compiled;float16, own kernels"
  run kernels python3 -m pytest -q -p no:cacheprovider tests/models/test_norm_kernels.py \
    tests/models/test_fused.py tests/evaluation/test_cuda.py
  run embed python3 -m pytest -q -p no:cacheprovider tests/embed/test_embed.py -k "cuda or gpu or GPU"
  run cold-mixed python3 benchmarks/cold_start.py --kernels mixed --rows mcl/resnet50 --together 0 \
    --name cold-start-mixed
  run cold python3 benchmarks/cold_start.py --kernels own --rows mcl/resnet50
  run sharing python3 benchmarks/sharing.py --numbers 1,5 --steps 1000
else
  starts=$W/starts/start-{seed}.safetensors
  methods() { # name, file, more
    local name=$1 file=$2
    shift 2
    run "$name" python3 benchmarks/methods.py "$file" --name "$name" --data "$W/v1" \
      --start "$starts" --work "$W/runs" --deadline "$(left)" "$@"
  }
  results=benchmarks/results
  make="python3 benchmarks/whole_seeds.py benchmarks/sweeps/board.toml --no-rows --work $W"
  run starts $make --seeds 2,3
  (
    run starts-more $make --seeds 0,1,4,5 --data "$W/v1"
    run people nice python3 benchmarks/diagnosis.py --people-only --work "$W/d"
  ) &
  python3 benchmarks/best.py finalists $results/search-2026-11-27-6x-h200.json \
    --out "$OUT/finalists.json" >"$OUT/best.log"
  methods finalists "$OUT/finalists.json" --seeds 2,3 --jobs-per-gpu 2 --estimate 250
  python3 benchmarks/best.py leave-one-out "$OUT"/finalists-2*.json \
    --out "$OUT/leave_one_out.json" >>"$OUT/best.log"
  wait
  board=$(ls $results/board-2*.json | tail -n 1)
  methods leave_one_out "$OUT/leave_one_out.json" --seeds 0,1,2 --jobs-per-gpu 3 --estimate 250 \
    --merge "$board"
  few=$(ls -t "$OUT"/leave_one_out-2*.json | head -n 1)
  methods best "$OUT/leave_one_out.json" --seeds 0,1,2,3,4,5 --jobs-per-gpu 3 --estimate 250 \
    --rows "best,agw,mcl (published),mcl (erasing),mcl (plain)" --merge "$board" --merge "$few"
  run diagnosis python3 benchmarks/diagnosis.py --seeds 2 --work "$W/d" --start "$starts" \
    --deadline "$(left)"
fi
say "done"
