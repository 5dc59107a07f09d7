// read and readv.

#include "io_functions.h"
#include "io_open.h"
#include "io_transfer.h"

namespace varve::tool {

namespace {

struct ReadPlan {
  std::uint64_t offset = 0;
  std::uint64_t count = 0;
  std::uint64_t pattern_offset = 0;  // From `offset` on.
  std::uint64_t pattern_count = 0;
};

// Nothing after a message.
std::optional<ReadPlan> plan_read(const IoCommand& command, const TransferOptions& options) {
  if (options.operands.size() != 2) {
    (void)print_io_usage(command);
    return std::nullopt;
  }
  const std::optional<std::uint64_t> offset = take_count(options.operands[0]);
  const std::optional<std::uint64_t> count = offset ? take_count(options.operands[1]) : offset;
  if (!count) {
    return std::nullopt;
  }
  if (*count > kRequestMax) {
    print("length cannot exceed {}, given {}\n", kRequestMax, options.operands[1]);
    return std::nullopt;
  }
  if (!options.pattern && (options.pattern_offset || options.pattern_length)) {
    (void)print_io_usage(command);
    return std::nullopt;
  }
  ReadPlan plan{*offset, *count, options.pattern_offset.value_or(0), 0};
  const std::uint64_t rest = *count - std::min(plan.pattern_offset, *count);
  plan.pattern_count = options.pattern_length.value_or(rest);
  if (plan.pattern_offset > *count || plan.pattern_count > rest) {
    print("pattern verification range exceeds end of read data\n");
    return std::nullopt;
  }
  return plan;
}

bool refuse_vm_state(const IoSession& session, const TransferOptions& options,
                     const ReadPlan& plan) {
  if (!check_sectors(plan.offset, "offset") || !check_sectors(plan.count, "count")) {
    return false;
  }
  if (options.registered) {
    print("I/O buffer registration is not supported when reading from vmstate\n");
    return false;
  }
  print_io_error(session.context(),
                 "read -b: the machine state beside the active disk cannot be read; "
                 "'varve snapshot read-state' reads a snapshot's");
  return false;
}

}  // namespace

bool io_read(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  const std::optional<TransferOptions> options = parse_transfer(command, arguments, "bCl:pP:qrs:v");
  const std::optional<ReadPlan> plan = options ? plan_read(command, *options) : std::nullopt;
  if (!plan) {
    return false;
  }
  if (options->vm_state) {
    return refuse_vm_state(session, *options, *plan);
  }
  BlockRequest request;
  request.offset = plan->offset;
  request.length = plan->count;
  // A length beyond the disk fails before memory is taken for it.
  const bool on_disk = plan->count <= session.size();
  const IoBuffer buffer = session.make_buffer(on_disk ? plan->count : 0);
  const IoVector vector{buffer.bytes().data(), buffer.bytes().size()};
  request.vectors = &vector;
  request.vector_count = 1;
  const IoClock::time_point start = IoClock::now();
  if (const int problem = session.perform(request); problem != 0) {
    return print_failure("read", problem);
  }
  const IoReport report{"read", plan->offset, plan->count, plan->count, IoClock::now() - start};
  bool matches = true;
  if (options->pattern) {
    const std::span<std::byte> part =
        buffer.bytes().subspan(plan->pattern_offset, plan->pattern_count);
    matches = matches_pattern(part, *options->pattern);
    if (!matches) {
      print_mismatch(plan->offset + plan->pattern_offset, plan->pattern_count);
    }
  }
  if (options->verbose && !options->quiet) {
    print_dump(buffer.bytes(), plan->offset);
  }
  print_report(report, *options);
  return matches;
}

bool io_readv(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  const std::optional<TransferOptions> options = parse_transfer(command, arguments, "CP:qrv");
  if (!options) {
    return false;
  }
  if (options->operands.size() < 2) {
    return print_io_usage(command);
  }
  const std::optional<std::uint64_t> offset = take_count(options->operands[0]);
  const std::optional<IoVectors> vectors =
      offset ? make_vectors(session, options->operands) : std::nullopt;
  if (!vectors) {
    return false;
  }
  BlockRequest request;
  request.offset = *offset;
  set_vectors(request, vectors->vectors, vectors->total);
  const IoClock::time_point start = IoClock::now();
  if (const int problem = session.perform(request); problem != 0) {
    return print_failure("readv", problem);
  }
  const IoReport report{"read", *offset, vectors->total, vectors->total, IoClock::now() - start};
  const std::span<std::byte> data = vectors->buffer.bytes();
  const bool matches = !options->pattern || matches_pattern(data, *options->pattern);
  if (!matches) {
    print_mismatch(*offset, vectors->total);
  }
  if (options->verbose && !options->quiet) {
    print_dump(data, *offset);
  }
  print_report(report, *options);
  return matches;
}

}  // namespace varve::tool
