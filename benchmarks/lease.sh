#!/usr/bin/env bash
# What the next lease makes (runs-to-make.md), on four GPUs and 64 cores or more: the rows of halo,
# then the diagnosis. A log of each command in $OUT; nothing waits for another's failure.
#     bash benchmarks/lease.sh COMMIT SECONDS
# Needs .whl (tyro, docstring-parser, typeguard), and everything copied to $PWD.
set -u
seconds=${2:?how long}
export VIREID_COMMIT=${1:?commit} PYTHONUNBUFFERED=1 PYTHONPATH=$PWD/src:${PYTHONPATH:-}
W=${W:-/dev/shm/w} results=benchmarks/results sweep=benchmarks/sweeps/halo.toml
mkdir -p "$W" "$OUT/later"
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
methods() { # name, seeds, deadline, more
  local name=$1 seeds=$2 deadline=$3
  shift 3
  run "$name" python3 benchmarks/methods.py $sweep --name "$name" --seeds "$seeds" \
    --data "$W/v1" --start "$W/starts/start-{seed}.safetensors" --work "$W/runs" \
    --jobs-per-gpu 3 --estimate 250 --deadline "$deadline" "$@"
}
merge() { # files, of which the newest is merged; none, where what makes it failed
  local newest
  newest=$(ls -t "$@" | head -n 1)
  [ -z "$newest" ] || echo "--merge $newest"
}
say "$(nvidia-smi -L | tr '\n' ' ') $(nproc) cores"

make="python3 benchmarks/whole_seeds.py $sweep --no-rows --work $W"
run starts $make --seeds 0,1,2
( # rows of the first seeds don't wait for the starts of the others; another $OUT, as a date has one name
  run starts-later env OUT="$OUT/later" nice $make --seeds 3,4,5 --data "$W/v1"
  run people nice python3 benchmarks/diagnosis.py --people-only --work "$W/d"
) &
board=$(merge $results/board-2*.json)
methods halo-parts 0,1,2 "$(left)" $board
wait
parts=$(merge "$OUT"/halo-parts-2*.json)
five="halo,agw,mcl (published),mcl (erasing),mcl (plain)"
methods halo-rows 0,1,2,3,4,5 "$(left)" --rows "$five" $board $parts
rows=$(merge "$OUT"/halo-rows-2*.json)
methods halo 0,1,2,3,4,5 1 $parts $rows # one table; begins no run
run diagnosis python3 benchmarks/diagnosis.py --seeds 2 --work "$W/d" \
  --start "$W/starts/start-{seed}.safetensors" --deadline "$(left)"
say "all done"
