#!/usr/bin/env bash
# Looks for more: builds the fuzzers with sanitizers and runs each from its corpus, then adds to the
# corpus what new ground a few small inputs cover. Whatever fails is kept in build/fuzz/failures.
#
#   fuzz/run.sh [--seconds N] [TARGET...]      each target for N seconds, 60 without
set -euo pipefail
cd "$(dirname "$0")/.."

FILES_MAX=60
BYTES_MAX=768
seconds=60
if [ "${1:-}" = --seconds ]; then
  seconds=$2
  shift 2
fi
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(open check repair operations reference settings stored_settings)
fi
# Most of the time would go into memory that is set aside and filled.
export ASAN_OPTIONS=quarantine_size_mb=4:malloc_context_size=4:max_malloc_fill_size=0

cmake -S . -B build/fuzz -G Ninja -Wno-dev -DCMAKE_CXX_COMPILER=clang++ -DVARVE_FUZZ=ON \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DVARVE_QUICK_BUILD=ON \
  -DVARVE_SANITIZE=address,undefined -DVARVE_BUILD_TESTS=ON -DVARVE_BUILD_BENCH=OFF \
  -DCMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache || true)" >build/fuzz.configure.log
cmake --build build/fuzz --target "${targets[@]/#/fuzz_}" -- --quiet

# Bytes and pieces of memory far beyond what any input may take; the fuzzers have ceilings of their
# own for what the library takes.
limits=(-timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=$BYTES_MAX)
mkdir -p build/fuzz/failures
failed=0
for target in "${targets[@]}"; do
  program=build/fuzz/bin/fuzz_$target
  corpus=fuzz/corpus/$target
  found=build/fuzz/found/$target
  log=build/fuzz/$target.log
  mkdir -p "$found" "$corpus"
  # Leaks are found by replaying. The entropic schedule counts features for longer than it fuzzes.
  if ! "$program" "${limits[@]}" -max_total_time="$seconds" -print_final_stats=1 \
    -detect_leaks=0 -entropic=0 -reload=0 \
    -artifact_prefix="build/fuzz/failures/$target-" "$found" "$corpus" >"$log" 2>&1; then
    failed=1
    echo "$target FAILED:"
    grep -E '^fuzz: |ERROR|SUMMARY|Test unit written' "$log" || tail -n 20 "$log"
    continue
  fi
  # What is in the corpus stays; only what covers new code is added to it, as long as there is room.
  room=$((FILES_MAX - $(find "$corpus" -type f | wc -l)))
  if [ "$room" -gt 0 ]; then
    rm -rf "$found.new"
    mkdir "$found.new"
    cp "$corpus"/* "$found.new" 2>/dev/null || true
    "$program" "${limits[@]}" -merge=1 -use_counters=0 "$found.new" "$found" >>"$log" 2>&1
    for file in $(cd "$found.new" && find . -type f -printf '%s %f\n' | sort -n | cut -d' ' -f2); do
      if [ "$room" -gt 0 ] && [ ! -e "$corpus/$file" ]; then
        cp "$found.new/$file" "$corpus"
        room=$((room - 1))
      fi
    done
  fi
  awk -v target="$target" -v files="$(find "$corpus" -type f | wc -l)" '
    /stat::number_of_executed_units/ { runs = $2 }
    /stat::peak_rss_mb/ { memory = $2 }
    / cov: / { for (i = 1; i < NF; ++i) if ($i == "cov:") edges = $(i + 1) }
    /^Done / { seconds = $5 }
    END { printf "%-16s %9d runs in %4d s, %6d edges, %4d MiB, %2d files in the corpus\n",
                 target, runs, seconds, edges, memory, files }' "$log"
done
exit $failed
