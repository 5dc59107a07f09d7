# shellcheck shell=bash disable=SC2034
# Configuring, building and running ctest. Sourced; the working directory is the project's root.

JOBS=$(nproc)

# Test programs that tests/run.sh runs in the release build: peers' work, and what goes ten times
# deeper there than under sanitizers.
LONG_PROGRAMS='capi|crash|interop|kill|model|tool|tool_io'

# configure_and_build FOLDER [CMAKE_OPTION...] [-- TARGET...]; without targets everything.
configure_and_build() {
  local folder=$1 options=() targets=()
  shift
  while [ $# -gt 0 ]; do
    if [ "$1" = -- ]; then
      shift
      targets=(--target "$@")
      break
    fi
    options+=("$1")
    shift
  done
  local launcher=()
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  # Said outright: the quickstart builds in the same folder without tests.
  cmake -S . -B "$folder" -G Ninja -Wno-dev -DVARVE_BUILD_TESTS=ON -DVARVE_BUILD_BENCH=ON \
    "${launcher[@]}" "${options[@]}" >"$folder.configure.log" 2>&1 ||
    {
      cat "$folder.configure.log"
      return 1
    }
  cmake --build "$folder" -j "$JOBS" "${targets[@]}" -- --quiet
}

# run_ctest FOLDER CTEST_OPTION...
run_ctest() {
  local folder=$1
  shift
  # One more than there are processors: flushes leave them idle.
  ctest --test-dir "$folder" --output-on-failure --no-tests=error --timeout 600 \
    -j $((JOBS + 1)) "$@"
}

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}
