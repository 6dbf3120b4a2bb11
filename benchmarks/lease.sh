#!/usr/bin/env bash
# What the next lease makes (runs-to-make.md), on four GPUs and 64 cores: one recipe for all, beside
# it, on two of the cards, the candidates for the package that start from ImageNet, then the
# diagnosis as far as time goes. A log of each command in $OUT; nothing waits for another's failure.
#     bash benchmarks/lease.sh COMMIT SECONDS
# Needs .whl (tyro, docstring-parser, typeguard, the two ImageNet files), and everything in $PWD.
set -u
seconds=${2:?how long}
export VIREID_COMMIT=${1:?commit} PYTHONUNBUFFERED=1 PYTHONPATH=$PWD/src:${PYTHONPATH:-}
W=${W:-/dev/shm/w} sweep=benchmarks/sweeps/common.toml
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
common() { # name, seeds, more
  local name=$1 seeds=$2
  shift 2
  run "$name" $shared python3 benchmarks/methods.py $sweep --name "$name" --seeds "$seeds" \
    --data "$W/v1" --start "$W/starts/start-{seed}.safetensors" --work "$W/runs" \
    --jobs-per-gpu 4 --estimate 250 --deadline "$(left)" "$@"
}
merge() { # names of results made here; none of those that failed
  local name file
  for name in "$@"; do
    file=$(ls -t "$OUT/$name"-2*.json 2>/dev/null | head -n 1)
    [ -z "$file" ] || echo "--merge $file"
  done
}
free() { # cards for rows
  local cards=0,1 card
  for card in 2 3; do [ ! -e "$W/card-$card-is-free" ] || cards=$cards,$card; done
  echo "$cards"
}
alive() { kill -0 "$1" 2>/dev/null; }
say "$(nvidia-smi -L | tr '\n' ' ') $(nproc) cores"

# Rows share cards at once, by which they gained a third (results/sharing-*).
mkdir -p "$W/mps"
shared="env CUDA_MPS_PIPE_DIRECTORY=$W/mps CUDA_MPS_LOG_DIRECTORY=$W/mps"
$shared nvidia-cuda-mps-control -d || shared=""
say "runs share a card at once: ${shared:-no}"

candidate="python3 benchmarks/train_synth_weights.py --work $W/e"
run people $candidate --prepare-only
card=2
for row in lite2 mobilenetv2; do
  (
    run "synth-weights-$row" env CUDA_VISIBLE_DEVICES=$card $candidate --rows $row \
      --$row .whl/$row.pth --name "synth-weights-$row" --deadline "$(left)"
    touch "$W/card-$card-is-free"
  ) &
  card=3
done
run starts env OUT="$OUT/starts" python3 benchmarks/whole_seeds.py $sweep --no-rows --work "$W" \
  --seeds 0,1,2,3,4,5 &
starts=$!
until { [ -e "$W/starts/start-0.json" ] && grep -q "" "$W/v1-verified.log"; } 2>/dev/null ||
  ! alive $starts; do sleep 1; done
CUDA_VISIBLE_DEVICES=$(free) common common-0 0
while alive $starts; do sleep 1; done
diagnosis="python3 benchmarks/diagnosis.py --seeds 2 --work $W/d"
run drawn nice $diagnosis --people-only &
CUDA_VISIBLE_DEVICES=$(free) common common 0,1,2,3,4,5 $(merge common-0)
CUDA_VISIBLE_DEVICES=$(free) run diagnosis $shared $diagnosis \
  --start "$W/starts/start-{seed}.safetensors" --deadline "$(left)"
wait
say "all done"
