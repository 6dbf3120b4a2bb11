#!/usr/bin/env bash
# What the next lease makes (runs-to-make.md), on four GPUs and 64 cores: the rows of halo, the
# network in the package beside them on the last card, then one recipe for all as far as time goes.
# A log of each command in $OUT; nothing waits for another's failure.
#     bash benchmarks/lease.sh COMMIT SECONDS
# Needs .whl (tyro, docstring-parser, typeguard, the two ImageNet files), and everything in $PWD.
set -u
seconds=${2:?how long}
export VIREID_COMMIT=${1:?commit} PYTHONUNBUFFERED=1 PYTHONPATH=$PWD/src:${PYTHONPATH:-}
W=${W:-/dev/shm/w} results=benchmarks/results sweep=benchmarks/sweeps/halo.toml
board=$results/board-2026-11-27-6x-h200.json
mkdir -p "$W" "$OUT/starts"
say() { echo "$(date +%T) $*" >>"$OUT/lease.log"; }
left() { echo $((seconds - SECONDS)); } # SECONDS counts from this script's start
run() { # name, command
  local name=$1
  shift
  if [ "$(left)" -le 0 ]; then # timeout takes 0 for no limit
    say "no time is left for $name"
    return
  fi
  say "$name begins, $(left) s left"
  timeout "$(left)" "$@" >"$OUT/$name.log" 2>&1 </dev/null
  say "$name ended with $?"
}
methods() { # file, name, seeds, more
  local file=$1 name=$2 seeds=$3
  shift 3
  run "$name" $shared python3 benchmarks/methods.py "benchmarks/sweeps/$file.toml" --name "$name" \
    --seeds "$seeds" --data "$W/v1" --start "$W/starts/start-{seed}.safetensors" \
    --work "$W/runs" --jobs-per-gpu 4 --estimate 330 --deadline "$(left)" "$@"
}
merge() { # names of results made here; none of those that failed
  local name file
  for name in "$@"; do
    file=$(ls -t "$OUT/$name"-2*.json 2>/dev/null | head -n 1)
    [ -z "$file" ] || echo "--merge $file"
  done
}
free() { # cards for rows: the last one is another's until it is done
  [ -e "$W/last-card-is-free" ] && echo "0,1,2,3" || echo "0,1,2"
}
say "$(nvidia-smi -L | tr '\n' ' ') $(nproc) cores"

make="python3 benchmarks/whole_seeds.py $sweep --no-rows --work $W"
run starts env OUT="$OUT/starts" $make --seeds 0,1,2,3,4,5 &
starts=$!
# While people are drawn two cards are idle: a step of halo's beside agw's, and what sharing gains.
run step timeout 220 env CUDA_VISIBLE_DEVICES=2 python3 benchmarks/step.py --all-methods --only halo,agw &
steps=$!
run sharing timeout 220 env CUDA_VISIBLE_DEVICES=3 python3 benchmarks/sharing.py --numbers 1,4 --steps 800 &
wait $! $steps
shared=""
if python3 benchmarks/sharing.py --gain 1.1 "$OUT"/sharing-2*.json >>"$OUT/sharing.log" 2>&1; then
  mkdir -p "$W/mps"
  shared="env CUDA_MPS_PIPE_DIRECTORY=$W/mps CUDA_MPS_LOG_DIRECTORY=$W/mps"
  $shared nvidia-cuda-mps-control -d
fi
say "runs share a card at once: ${shared:-no}"
until { [ -e "$W/starts/start-0.json" ] && grep -q "" "$W/v1-verified.log"; } 2>/dev/null ||
  ! kill -0 $starts 2>/dev/null; do sleep 1; done
methods halo halo-0 0 --merge $board
(
  export CUDA_VISIBLE_DEVICES=3
  wait_for() { while kill -0 "$1" 2>/dev/null; do sleep 1; done; }
  wait_for $starts
  run cross-sets env OUT="$OUT/starts" nice \
    $make --seeds 0 --start none --data "$W/v1" --cross
  ln -sfn halo-0 "$W/runs/halo-cross" # the same runs, which are there
  methods halo halo-cross 0 --rows halo,agw --cross "$W/cross"
  touch "$W/cross-is-tested"
  run people nice python3 benchmarks/train_synth_weights.py --work "$W/e" --prepare-only
  run network $shared python3 benchmarks/train_synth_weights.py --work "$W/e" --jobs-per-gpu 2 \
    --lite2 .whl/lite2.pth --mobilenetv2 .whl/mobilenetv2.pth --deadline "$(left)"
  touch "$W/last-card-is-free"
) &
last_card=$!
while kill -0 $starts 2>/dev/null; do sleep 1; done
CUDA_VISIBLE_DEVICES=$(free) methods halo halo-rows 1,2,3,4,5 --merge $board \
  --rows "halo,agw,mcl (published),mcl (erasing),mcl (plain)"
CUDA_VISIBLE_DEVICES=$(free) methods halo halo-parts 0,1,2 --merge $board $(merge halo-0 halo-rows)
until [ -e "$W/cross-is-tested" ] || ! kill -0 $last_card 2>/dev/null; do sleep 1; done
methods halo halo 0,1,2,3,4,5 --deadline 1 --merge $board \
  $(merge halo-cross halo-parts halo-0 halo-rows) # one table; begins no run
CUDA_VISIBLE_DEVICES=$(free) methods common common 0,1,2,3,4,5
wait $last_card
say "all done"
