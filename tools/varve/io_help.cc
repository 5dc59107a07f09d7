// What `help COMMAND` adds to a command's usage line.

#include <array>

#include "io_functions.h"

namespace varve::tool {

namespace {

struct HelpText {
  std::string_view command;
  const char* text;
};

constexpr std::array<HelpText, 10> kHelpTexts = {{
    {"read", R"(
 Reads LEN bytes at OFF.

 Example: 'read -v 512 1k' shows the second and third sector.

 -P PATTERN   fail unless every byte has this value (decimal, 0x.. or 0..)
 -s OFF       with -P: compare from this byte of the range on
 -l LEN       with -P: compare this many bytes only
 -v           show the bytes
 -q           no report
 -C           report as one line: bytes,operations,time,bytes/sec,operations/sec
 -b           machine state instead of the disk (refused)
 -r, -p       accepted; make no difference

)"},
    {"readv", R"(
 Reads at OFF into one buffer per LEN, with a single request.

 Example: 'readv -v 512 1k 1k' shows two kilobytes.

 -P PATTERN   fail unless every byte has this value
 -v           show the bytes
 -q           no report
 -C           report as one line
 -r           accepted; makes no difference

)"},
    {"write", R"(
 Writes LEN bytes at OFF: 0xcd unless something else is asked for.

 Example: 'write -P 7 512 1k' fills the second and third sector.

 -P PATTERN   bytes of this value (decimal, 0x.. or 0..)
 -s FILE      bytes of this file, repeated as often as needed
 -z           zeros, without sending them where the image allows
 -u           with -z: space may be given back
 -n           with -z: fail rather than write zeros out
 -c           compressed; whole clusters that hold nothing yet
 -f           durable before the report
 -q           no report
 -C           report as one line: bytes,operations,time,bytes/sec,operations/sec
 -b           machine state instead of the disk (refused)
 -r, -p       accepted; make no difference

)"},
    {"writev", R"(
 Writes at OFF from one buffer per LEN, with a single request.

 Example: 'writev 512 1k 1k' writes two kilobytes.

 -P PATTERN   bytes of this value instead of 0xcd
 -f           durable before the report
 -q           no report
 -C           report as one line
 -r           accepted; makes no difference

)"},
    {"aio_read", R"(
 Starts a read as readv and goes on to the next command. The report comes when it is done: at
 the latest with aio_flush or at the end. Errors and wrong patterns are printed and do not make
 the command fail.

 Example: 'aio_read -v 512 1k 1k'

 -P PATTERN   say so unless every byte has this value
 -v           show the bytes
 -q           no report
 -C           report as one line
 -i           count an invalid request instead; nothing is read
 -r           accepted; makes no difference

)"},
    {"aio_write", R"(
 Starts a write as writev and goes on to the next command. The report comes when it is done: at
 the latest with aio_flush or at the end. Errors are printed and do not make the command fail.

 Example: 'aio_write 512 1k 1k'

 -P PATTERN   bytes of this value instead of 0xcd
 -z           zeros; a single LEN
 -u           with -z: space may be given back
 -f           durable before the report
 -q           no report
 -C           report as one line
 -i           count an invalid request instead; nothing is written
 -r           accepted; makes no difference

)"},
    {"discard", R"(
 Tells the image that LEN bytes at OFF are no longer needed. Whole clusters are dropped.

 Example: 'discard 64k 1M'

 -q           no report
 -C           report as one line

)"},
    {"open", R"(
 Opens an image; there must be none open.

 Example: 'open -n -o driver=raw /tmp/disk' opens a raw disk past the page cache.

 -r           read-only
 -s           keep changes in a temporary overlay
 -C           copy what is read up from the backing file
 -n           past the page cache: -t none
 -U           also while another program has it open
 -t MODE      none, writeback, writethrough, directsync, unsafe
 -d MODE      ignore, unmap
 -i ENGINE    threads, native, io_uring; -k is -i native
 -o OPTIONS   key=value,...
)"},
    {"reopen", R"(
 Opens the image again with other options; it stays open as it was when that fails.

 Example: 'reopen -w' makes an image writable that was opened read-only.

 -r           read-only
 -w           for reading and writing
 -c MODE      another cache mode
 -o OPTIONS   key=value,...

)"},
    {"sigraise", R"(
 Sends the program this signal.

 Example: 'sigraise 15' sends SIGTERM.

)"},
}};

}  // namespace

const char* io_long_help(std::string_view command) {
  for (const HelpText& help : kHelpTexts) {
    if (help.command == command) {
      return help.text;
    }
  }
  return nullptr;
}

}  // namespace varve::tool
