#!/usr/bin/env bash
# The crash explorer for as long as there is time: sequences of operations, their power cuts and
# cuts in what follows, on the release build (tests/crash/sequences_test.cc). Stops at the first
# state that breaks a promise, and tells how to find it again.
#
# Usage: tests/soak.sh [--seconds N] [--seed S] [--races] [--report]
#   --seconds N  processor seconds, over all processors (600); 0: no power cuts
#   --seed S     which sequences come first, and what is chosen of many choices (1)
#   --races      then discards, zeroes and writes that race for the same clusters, a million for
#                each of 16 seeds (tests/model/race_test.cc)
#   --report     ends with the tables of docs/RELIABILITY.md
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/build.sh

seconds=600 seed=1 report= races=
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2 && shift 2 ;;
    --seed) seed=$2 && shift 2 ;;
    --races) races=1 && shift ;;
    --report) report=1 && shift ;;
    *) sed -n '6,11p' "$0" && exit 2 ;;
  esac
done

mkdir -p build
configure_and_build build/release -DCMAKE_BUILD_TYPE=Release -- crash_test model_test
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export VARVE_REQUIRE=1 VARVE_SEED=$seed

# run_shards NAME PROGRAM FILTER: one process for each processor, their output in $logs/NAME.*; sets
# NAME_failed to how many fail, and NAME_cpu to the processor seconds.
run_shards() {
  local name=$1 program=$2 filter=$3 pids=() i failed=0 before
  times >"$logs/times"
  before=$(children_seconds)
  for ((i = 0; i < JOBS; i++)); do
    GTEST_TOTAL_SHARDS=$JOBS GTEST_SHARD_INDEX=$i "build/release/bin/$program" --gtest_brief=1 \
      "--gtest_filter=$filter" >"$logs/$name.$i" 2>&1 &
    pids+=($!)
  done
  for ((i = 0; i < JOBS; i++)); do
    wait "${pids[i]}" || failed=$((failed + 1))
  done
  times >"$logs/times"
  cat "$logs/$name".*
  printf -v "${name}_failed" %d "$failed"
  printf -v "${name}_cpu" %d $(($(children_seconds) - before))
}

# What bash's `times`, which counts for the shell itself only, has said of its children.
children_seconds() {
  tail -n 1 "$logs/times" | tr 'ms' '  ' | awk '{ printf "%d", $1 * 60 + $2 + $3 * 60 + $4 }'
}

cuts_failed=0 races_failed=0
if [ "$seconds" -gt 0 ]; then
  # A second cut after every sequence.
  export VARVE_CRASH_SECONDS=$seconds VARVE_CRASH_NESTED=${VARVE_CRASH_NESTED:-1}
  run_shards cuts crash_test '*CrashSequences*'
fi
if [ -n "$races" ]; then
  VARVE_LONG=1 run_shards races model_test '*Races*'
fi

version=$(sed -n -E 's/^CMAKE_PROJECT_VERSION:[A-Z]+=//p' build/release/CMakeCache.txt)
today=$(date +%F)
# "explored: N distinct states of N sequences (N choices, N judged, N after a second cut), N shown
# to the library, N to qemu-img; N s of CPU, ..."
if [ -n "$report" ] && [ "$seconds" -gt 0 ]; then
  operations=$(sed -n -E 's/^  ([A-Z][A-Za-z]+)  .*/\1/p' "$logs"/cuts.* | sort -u | wc -l)
  echo "| version | date | seed | states | after a second cut | sequences | operations |" \
    "shown to the library | to qemu-img | CPU seconds | states per second | violations |"
  echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
  grep -h '^explored:' "$logs"/cuts.* | tr -c '0-9.\n' ' ' |
    awk -v version="$version" -v seed="$seed" -v violations="$cuts_failed" \
      -v operations="$operations" -v day="$today" '
      {
        states += $1; sequences += $2; judged += $4; second += $5
        library += $6; qemu += $7; cpu += $8
      }
      END {
        printf "| %s | %s | %s | %d | %d |", version, day, seed, states, second
        printf " %d | %d | %d | %d |", sequences, operations, library, qemu
        printf " %.0f | %.0f | %d |\n", cpu, states / cpu, violations
      }'
fi
# "raced: N requests"
if [ -n "$report" ] && [ -n "$races" ]; then
  echo "| version | date | seed | racing requests | cases | CPU seconds | mismatches |"
  echo "|---|---|---|---|---|---|---|"
  grep -h '^raced:' "$logs"/races.* |
    awk -v version="$version" -v seed="$seed" -v failed="$races_failed" -v cpu="$races_cpu" \
      -v day="$today" '
      { requests += $2; cases += 1 }
      END {
        printf "| %s | %s | %s | %d | %d |", version, day, seed, requests, cases
        printf " %d | %d |\n", cpu, failed
      }'
fi
exit $((cuts_failed + races_failed != 0))
