#!/usr/bin/env bash
# The crash explorer for as long as there is time: sequences of operations, their power cuts and
# cuts in what follows, on the release build (tests/crash/sequences_test.cc). Stops at the first
# state that breaks a promise, and tells how to find it again.
#
# Usage: tests/soak.sh [--seconds N] [--seed S] [--report]
#   --seconds N  processor seconds, over all processors (600)
#   --seed S     which sequences come first, and what is chosen of many choices (1)
#   --report     ends with the table of docs/RELIABILITY.md
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/build.sh

seconds=600 seed=1 report=
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2 && shift 2 ;;
    --seed) seed=$2 && shift 2 ;;
    --report) report=1 && shift ;;
    *) sed -n '6,9p' "$0" && exit 2 ;;
  esac
done

mkdir -p build
configure_and_build build/release -DCMAKE_BUILD_TYPE=Release -- crash_test
export VARVE_REQUIRE=1 VARVE_SEED=$seed VARVE_CRASH_SECONDS=$seconds
# A second cut after every sequence.
export VARVE_CRASH_NESTED=${VARVE_CRASH_NESTED:-1}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
pids=()
for ((i = 0; i < JOBS; i++)); do
  GTEST_TOTAL_SHARDS=$JOBS GTEST_SHARD_INDEX=$i build/release/bin/crash_test --gtest_brief=1 \
    '--gtest_filter=*CrashSequences*' >"$logs/$i" 2>&1 &
  pids+=($!)
done
violations=0
for ((i = 0; i < JOBS; i++)); do
  wait "${pids[i]}" || violations=$((violations + 1))
done
cat "$logs"/*

# "explored: N distinct states of N sequences (N choices, N judged, N after a second cut), N shown
# to the library, N to qemu-img; N s of CPU, ..."
if [ -n "$report" ]; then
  version=$(sed -n -E 's/^CMAKE_PROJECT_VERSION:[A-Z]+=//p' build/release/CMakeCache.txt)
  operations=$(sed -n -E 's/^  ([A-Z][A-Za-z]+)  .*/\1/p' "$logs"/* | sort -u | wc -l)
  echo "| version | date | seed | states | after a second cut | sequences | operations |" \
    "shown to the library | to qemu-img | CPU seconds | states per second | violations |"
  echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
  grep -h '^explored:' "$logs"/* | tr -c '0-9.\n' ' ' |
    awk -v version="$version" -v seed="$seed" -v violations="$violations" \
      -v operations="$operations" -v day="$(date +%F)" '
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
exit $((violations != 0))
