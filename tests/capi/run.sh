#!/usr/bin/env bash
# Runs a program that uses the C interface in a scratch folder of its own.
#
# Usage: run.sh c PROGRAM          with io_uring where there is one, and with threads
#        run.sh valgrind PROGRAM   under valgrind, which must find nothing
#        run.sh rust RUSTC LIBRARY compiles and runs the program in Rust
set -euo pipefail
mode=$1
program=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case $mode in
  c)
    for backend in automatic threads; do
      mkdir "$scratch/$backend"
      "$program" "$scratch/$backend" "$backend"
    done
    ;;
  valgrind)
    # Threads: valgrind does not see what io_uring writes into memory.
    valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect \
      --errors-for-leak-kinds=definite,indirect --child-silent-after-fork=yes \
      "$program" "$scratch" threads
    ;;
  rust)
    library_folder=$(dirname "$3")
    "$program" --edition 2021 -C debuginfo=0 "$(dirname "$0")/rust/main.rs" -L "$library_folder" \
      -l dylib=varve -o "$scratch/rust_program"
    LD_LIBRARY_PATH=$library_folder "$scratch/rust_program"
    ;;
  *)
    echo "unknown mode $mode" >&2
    exit 2
    ;;
esac
