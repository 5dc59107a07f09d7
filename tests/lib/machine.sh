# shellcheck shell=bash
# What tests want of the machine beyond programs. Sourced.

# Says what is missing; fails if anything is.
machine_has_all() {
  local missing=0
  if ! python3 -c '
import ctypes, os, sys
descriptor = ctypes.CDLL(None, use_errno=True).syscall(425, 4, ctypes.create_string_buffer(256))
sys.exit(0 if descriptor >= 0 else 1)' 2>/dev/null; then
    echo "io_uring is refused here: its tests are skipped"
    missing=1
  fi
  if [ "$(id -u)" -ne 0 ] || [ ! -e /dev/loop-control ] ||
    ! PATH=$PATH:/usr/sbin:/sbin losetup --find >/dev/null 2>&1; then
    echo "No loop device can be made here: their tests are skipped"
    missing=1
  fi
  return $missing
}
