#include "io_transfer.h"

#include <cstdio>
#include <cstring>

#include <getopt.h>

#include "io_parse.h"
#include "messages.h"

namespace varve::tool {

namespace {

// The flag a letter without a value sets.
bool* find_flag(TransferOptions& options, int letter) {
  switch (letter) {
    case 'q':
      return &options.quiet;
    case 'C':
      return &options.machine_readable;
    case 'v':
      return &options.verbose;
    case 'z':
      return &options.zero;
    case 'u':
      return &options.unmap;
    case 'f':
      return &options.force_unit_access;
    case 'c':
      return &options.compressed;
    case 'b':
      return &options.vm_state;
    case 'n':
      return &options.no_fallback;
    case 'r':
      return &options.registered;
    case 'i':
      return &options.invalid;
    default:
      return nullptr;
  }
}

// A letter with a value. False after a message.
bool take_value(TransferOptions& options, int letter, bool verifies) {
  if (letter == 'P') {
    options.pattern = parse_pattern(optarg);
    if (!options.pattern) {
      print("{} is not a valid pattern byte\n", optarg);
    }
    return options.pattern.has_value();
  }
  if (letter == 's' && !verifies) {
    options.source_file = optarg;
    return true;
  }
  std::optional<std::uint64_t>& target =
      letter == 's' ? options.pattern_offset : options.pattern_length;
  target = take_count(optarg);
  return target.has_value();
}

}  // namespace

std::optional<TransferOptions> parse_transfer(const IoCommand& command, IoArguments& arguments,
                                              const char* letters) {
  TransferOptions options;
  const bool verifies = std::strchr(letters, 'l') != nullptr;
  for (int letter = 0; (letter = arguments.next_option(letters)) != -1;) {
    if (letter == 'p') {
      continue;  // Once chose another way to the same result.
    }
    if (letter == '?') {
      (void)print_io_usage(command);
      return std::nullopt;
    }
    if (bool* flag = find_flag(options, letter); flag != nullptr) {
      *flag = true;
      if (options.invalid) {
        return options;
      }
    } else if (!take_value(options, letter, verifies)) {
      return std::nullopt;
    }
  }
  options.operands = arguments.operands();
  return options;
}

std::optional<IoVectors> make_vectors(const IoSession& session,
                                      const std::vector<std::string>& operands) {
  IoVectors result;
  std::vector<std::uint64_t> lengths;
  for (std::size_t i = 1; i < operands.size(); ++i) {
    const std::optional<std::uint64_t> length = take_count(operands[i]);
    if (!length) {
      return std::nullopt;
    }
    if (*length > kRequestMax) {
      print("Argument '{}' exceeds maximum size {}\n", operands[i], kRequestMax);
      return std::nullopt;
    }
    if (*length > kRequestMax - result.total) {
      print("The total number of bytes exceed the maximum size {}\n", kRequestMax);
      return std::nullopt;
    }
    lengths.push_back(*length);
    result.total += *length;
  }
  result.buffer = session.make_buffer(result.total);
  std::byte* position = result.buffer.bytes().data();
  for (const std::uint64_t length : lengths) {
    result.vectors.push_back({position, static_cast<std::size_t>(length)});
    position += length;
  }
  return result;
}

void set_vectors(BlockRequest& request, const std::vector<IoVector>& vectors, std::uint64_t total) {
  request.length = total;
  request.vectors = vectors.data();
  request.vector_count = static_cast<std::uint32_t>(vectors.size());
}

bool print_failure(const char* what, int problem) {
  print("{} failed: {}\n", what, system_words(problem));
  return false;
}

void print_report(const IoReport& report, const TransferOptions& options) {
  if (!options.quiet) {
    (void)std::fputs(io_report_text(report, options.machine_readable).c_str(), stdout);
  }
}

void print_mismatch(std::uint64_t offset, std::uint64_t length) {
  print("Pattern verification failed at offset {}, {} bytes\n", offset, length);
}

void print_dump(std::span<const std::byte> data, std::uint64_t offset) {
  (void)std::fputs(io_dump_text(data, offset).c_str(), stdout);
}

bool check_sectors(std::uint64_t value, const char* name) {
  if (value % kSectorBytes == 0) {
    return true;
  }
  print("{} is not a sector-aligned value for '{}'\n", value, name);
  return false;
}

}  // namespace varve::tool
