// Commands of qemu-io that need what Varve has not: breakpoints in the block layer, zoned devices.
// They read their arguments as qemu-io does and then fail in its words.

#include <algorithm>
#include <cerrno>
#include <limits>

#include "io_functions.h"
#include "io_open.h"
#include "io_transfer.h"
#include "messages.h"

namespace varve::tool {

namespace {

std::string unsupported_words() {
  return system_words(EOPNOTSUPP);
}

bool refuse_zones(const IoCommand& command) {
  std::string operation = command.name;
  std::replace(operation.begin(), operation.end(), '_', ' ');
  return print_failure(operation.c_str(), EOPNOTSUPP);
}

}  // namespace

bool io_break(IoSession&, const IoCommand&, IoArguments&) {
  print("Could not set breakpoint: {}\n", unsupported_words());
  return false;
}

bool io_remove_break(IoSession&, const IoCommand&, IoArguments& arguments) {
  print("Could not remove breakpoint {}: {}\n", arguments.word(1), unsupported_words());
  return false;
}

bool io_resume(IoSession&, const IoCommand&, IoArguments&) {
  print("Could not resume request: {}\n", unsupported_words());
  return false;
}

// qemu-io would wait forever for a breakpoint that nothing can set.
bool io_wait_break(IoSession& session, const IoCommand&, IoArguments&) {
  print_io_error(session.context(), "wait_break: breakpoints are not supported");
  return false;
}

bool io_zone_report(IoSession&, const IoCommand& command, IoArguments& arguments) {
  const std::optional<std::uint64_t> offset = take_count(arguments.word(1));
  const std::optional<std::uint64_t> count = offset ? take_count(arguments.word(2)) : offset;
  if (!count) {
    return false;
  }
  if (*count > std::numeric_limits<std::uint32_t>::max()) {
    print("Number of zones must be less than 2^32\n");
    return false;
  }
  return refuse_zones(command);
}

bool io_zone_range(IoSession&, const IoCommand& command, IoArguments& arguments) {
  return take_count(arguments.word(1)) && take_count(arguments.word(2)) && refuse_zones(command);
}

bool io_zone_append(IoSession&, const IoCommand& command, IoArguments& arguments) {
  while (arguments.next_option("pq") != -1) {
    // qemu-io goes on after a letter it does not know, too.
  }
  for (const std::string& operand : arguments.operands()) {
    if (!take_count(operand)) {
      return false;
    }
  }
  return refuse_zones(command);
}

}  // namespace varve::tool
