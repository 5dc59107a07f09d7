#!/usr/bin/env bash
# Runs tools/quickstart.sh with a finished tool and a small disk.
#
# Usage: run.sh TOOL
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
for program in mke2fs debugfs; do
  if ! command -v $program >/dev/null; then
    echo "$program is missing"
    [ -n "${VARVE_REQUIRE:-}" ] && exit 1
    exit 77
  fi
done
exec "$(dirname "$0")/../../tools/quickstart.sh" --size 16 --tool "$1"
