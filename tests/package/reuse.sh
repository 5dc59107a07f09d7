#!/usr/bin/env bash
# A compiler launcher for a build of the library that has been made already: hands out the object
# of the finished build where it came from the same source by the same command, else compiles.
# The folder VARVE_REUSE holds, for each object, `NAME` (the command) and `NAME.path` (the object);
# VARVE_REUSE_BUILD is the finished build.
#
# Usage: reuse.sh COMPILER ARGUMENT...
set -euo pipefail
command=()
output=
dependencies=
previous=
for argument in "$@"; do
  case $previous in
    -o) output=$argument ;;
    -MF) dependencies=$argument ;;
    -MT) ;;
    *)
      case $argument in
        -o | -MF | -MT | -MD | -Werror) ;;
        *) command+=("$argument") ;;
      esac
      ;;
  esac
  previous=$argument
done
# Varve's part of this build and the finished build are the same, wherever they stand.
words="${command[*]}"
words=${words//$PWD\/varve/@}
source=${!#}
same=true
[[ $source != "$PWD"/varve/* ]] || cmp -s "$source" "$VARVE_REUSE_BUILD${source#"$PWD"/varve}" ||
  same=false
name=${output#varve/}
name=$VARVE_REUSE/${name//\//_}
if $same && [ -f "$name.path" ] && [ "$(<"$name")" = "$words" ]; then
  cp "$(<"$name.path")" "$output"
  echo "$output:" >"$dependencies"
  echo >>"$VARVE_REUSE/reused"
else
  exec "$@"
fi
