// The options that reading and writing commands share: the same letter means the same everywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io_command.h"
#include "io_report.h"

namespace varve::tool {

struct TransferOptions {
  bool quiet = false;                      // -q
  bool machine_readable = false;           // -C
  bool verbose = false;                    // -v
  bool zero = false;                       // -z
  bool unmap = false;                      // -u
  bool force_unit_access = false;          // -f
  bool compressed = false;                 // -c
  bool vm_state = false;                   // -b
  bool no_fallback = false;                // -n
  bool registered = false;                 // -r: a buffer of the ring's; all of ours are alike.
  bool invalid = false;                    // -i
  std::optional<unsigned char> pattern;    // -P
  std::optional<std::string> source_file;  // -s of write
  std::optional<std::uint64_t> pattern_offset;  // -s of read
  std::optional<std::uint64_t> pattern_length;  // -l
  std::vector<std::string> operands;
};

// Nothing after a message. `letters` as for getopt.
[[nodiscard]] std::optional<TransferOptions> parse_transfer(const IoCommand& command,
                                                            IoArguments& arguments,
                                                            const char* letters);

// One buffer cut into the lengths of a vectored request.
struct IoVectors {
  IoBuffer buffer;
  std::vector<IoVector> vectors;
  std::uint64_t total = 0;
};

// From operands[1..]. Nothing after a message.
[[nodiscard]] std::optional<IoVectors> make_vectors(const IoSession& session,
                                                    const std::vector<std::string>& operands);

// Points a request at `vectors`, which must stay where they are until it is done.
void set_vectors(BlockRequest& request, const std::vector<IoVector>& vectors, std::uint64_t total);

// "WHAT failed: words for problem"; false.
bool print_failure(const char* what, int problem);

// The report, unless it is to be quiet.
void print_report(const IoReport& report, const TransferOptions& options);

// What a pattern that is not found means: a message.
void print_mismatch(std::uint64_t offset, std::uint64_t length);

void print_dump(std::span<const std::byte> data, std::uint64_t offset);

// Whether `value` is whole sectors; a message otherwise.
[[nodiscard]] bool check_sectors(std::uint64_t value, const char* name);

}  // namespace varve::tool
