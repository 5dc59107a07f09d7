// open, reopen and close.

#include <getopt.h>

#include "io_functions.h"
#include "io_open.h"

namespace varve::tool {

namespace {

struct ReopenRequest {
  IoSettings settings;
  bool access_chosen = false;
  bool cache_chosen = false;
  KeyValueList options;
};

// False after a message.
bool take_access(const IoSession& session, ReopenRequest& request, bool read_only) {
  if (request.access_chosen) {
    print_io_error(session.context(), "Only one -r/-w option may be given");
    return false;
  }
  request.access_chosen = true;
  request.settings.read_only = read_only;
  return true;
}

bool parse_reopen(const IoSession& session, const IoCommand& command, IoArguments& arguments,
                  ReopenRequest& request) {
  for (int letter = 0; (letter = arguments.next_option("c:o:rw")) != -1;) {
    if (letter == 'r' || letter == 'w') {
      if (!take_access(session, request, letter == 'r')) {
        return false;
      }
    } else if (letter == 'o') {
      add_node_options(session.context(), optarg, request.options);
    } else if (letter == 'c') {
      request.cache_chosen = true;
      if (!take_open_option(session.context(), request.settings, 't', optarg)) {
        return false;
      }
    } else {
      return print_io_usage(command);
    }
  }
  return arguments.operands().empty() || print_io_usage(command);
}

// One option of reopen -o. False after a message.
bool change_option(const IoSession& session, ReopenRequest& request, const std::string& key,
                   const std::string& value) {
  std::string complaint;
  if (key == "cache.direct" || key == "cache.no-flush") {
    (key == "cache.direct" ? request.settings.cache.direct : request.settings.cache.flush_ignored) =
        value == "on";
  } else if (key == "discard") {
    if (!parse_discard_mode(value, request.settings.discard)) {
      complaint = "Invalid discard option";
    }
  } else if (key == "read-only") {
    if (value == "on" && !request.settings.read_only) {
      complaint = fmt::format("Read-only block node '{}' cannot support read-write users",
                              session.settings().name.value_or(""));
    }
  } else if (key == "backing") {
    complaint = fmt::format("Cannot find device='' nor node-name='{}'", value);
  } else if (key == "file.filename") {
    complaint = value == session.filename() ? "" : "Cannot change the option 'filename'";
  } else if (!(is_tuning_option(key) && session.format() == "qcow2") &&
             !(key == "driver" && value == session.format())) {
    complaint = fmt::format("Cannot change the option '{}'", key);
  }
  if (!complaint.empty()) {
    print_io_error(session.context(), complaint);
  }
  return complaint.empty();
}

bool change_options(const IoSession& session, ReopenRequest& request) {
  for (const auto& [key, value] : request.options) {
    if (key == "read-only" && request.access_chosen) {
      print_io_error(session.context(), "Cannot set both -r/-w and 'read-only'");
      return false;
    }
    if (key.starts_with("cache.") && request.cache_chosen) {
      print_io_error(session.context(), "Cannot set both -c and the cache options");
      return false;
    }
  }
  for (const auto& [key, value] : request.options) {
    if (!change_option(session, request, key, value)) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool io_open(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  IoSettings settings;
  for (int letter = 0; (letter = arguments.next_option("snCro:ki:t:d:U")) != -1;) {
    if (letter == '?') {
      return print_io_usage(command);
    }
    if (letter != 'o') {
      if (!take_open_option(session.context(), settings, letter, optarg)) {
        return false;
      }
      continue;
    }
    if (session.image_opts) {
      print("--image-opts and 'open -o' are mutually exclusive\n");
      return false;
    }
    add_node_options(session.context(), optarg, settings.options);
  }
  const std::vector<std::string> operands = arguments.operands();
  if (operands.size() > 1) {
    return print_io_usage(command);
  }
  if (session.image_opts && !operands.empty()) {
    add_node_options(session.context(), operands[0], settings.options);
  } else if (!operands.empty()) {
    settings.name = operands[0];
  }
  return session.open(settings);
}

bool io_reopen(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  ReopenRequest request;
  request.settings = session.settings();
  return parse_reopen(session, command, arguments, request) && change_options(session, request) &&
         session.reopen(request.settings);
}

bool io_close(IoSession& session, const IoCommand&, IoArguments&) {
  return session.close();
}

}  // namespace varve::tool
