// write and writev.

#include <cerrno>

#include "io_functions.h"
#include "io_open.h"
#include "io_transfer.h"

namespace varve::tool {

namespace {

constexpr unsigned char kWriteFill = 0xcd;  // What is written when nothing is said.

struct WritePlan {
  std::uint64_t offset = 0;
  std::uint64_t count = 0;
};

// The first reason to refuse the combination; null when there is none.
const char* find_conflict(const TransferOptions& options) {
  if (options.vm_state && options.zero) {
    return "-b and -z cannot be specified at the same time";
  }
  if (options.force_unit_access && (options.vm_state || options.compressed)) {
    return "-f and -b or -c cannot be specified at the same time";
  }
  if (options.no_fallback && !options.zero) {
    return "-n requires -z to be specified";
  }
  if (options.unmap && !options.zero) {
    return "-u requires -z to be specified";
  }
  const int sources =
      int{options.zero} + int{options.pattern.has_value()} + int{options.source_file.has_value()};
  return sources > 1 ? "Only one of -z, -P, and -s can be specified at the same time" : nullptr;
}

// Nothing after a message.
std::optional<WritePlan> plan_write(const IoCommand& command, const TransferOptions& options) {
  if (options.operands.size() != 2) {
    (void)print_io_usage(command);
    return std::nullopt;
  }
  if (const char* conflict = find_conflict(options); conflict != nullptr) {
    print("{}\n", conflict);
    return std::nullopt;
  }
  const std::optional<std::uint64_t> offset = take_count(options.operands[0]);
  const std::optional<std::uint64_t> count = offset ? take_count(options.operands[1]) : offset;
  if (!count) {
    return std::nullopt;
  }
  if (*count > kRequestMax && !options.no_fallback) {
    print("length cannot exceed {} without -n, given {}\n", kRequestMax, options.operands[1]);
    return std::nullopt;
  }
  const bool whole_sectors = options.vm_state || options.compressed;
  if (whole_sectors && (!check_sectors(*offset, "offset") || !check_sectors(*count, "count"))) {
    return std::nullopt;
  }
  if (options.zero && options.registered) {
    print("cannot combine zero write with registered I/O buffer\n");
    return std::nullopt;
  }
  return WritePlan{*offset, *count};
}

// Whether the part of the zeroed range in the granule at `granule` can become zeros by metadata
// alone: a whole granule, or the rest of it reads as zeros already.
bool is_zero_granule(Image& image, std::uint64_t granule, std::uint64_t granule_bytes) {
  const std::uint64_t end = std::min(granule + granule_bytes, image.size());
  for (std::uint64_t position = granule; position < end;) {
    const Result<BlockStatus> status = image.status(position, end - position);
    if (!status || !status->zero || status->data || status->length == 0) {
      return false;
    }
    position += status->length;
  }
  return true;
}

// write -zn: zeroing without writing zeros. 0 or errno.
int check_no_fallback(const IoSession& session, const WritePlan& plan) {
  Image& image = session.image();
  const ImageFacts facts = image.facts();
  if (facts.format != Format::qcow2) {
    return 0;
  }
  if (facts.version < 3) {
    return EOPNOTSUPP;
  }
  constexpr std::uint64_t kSubclusters = 32;
  const std::uint64_t granule =
      facts.extended_l2 ? facts.cluster_bytes / kSubclusters : facts.cluster_bytes;
  const std::uint64_t end = plan.offset + plan.count;
  if (end > session.size()) {
    return 0;  // Fails for that.
  }
  const std::uint64_t head = plan.offset / granule * granule;
  const std::uint64_t tail = end / granule * granule;
  const bool head_whole = head == plan.offset;
  const bool tail_whole = tail == end || end >= image.size();
  return (head_whole || is_zero_granule(image, head, granule)) &&
                 (tail_whole || is_zero_granule(image, tail, granule))
             ? 0
             : EOPNOTSUPP;
}

// write -c: compressed clusters take the place of nothing, as in QEMU. 0 or errno.
int check_compressed(const IoSession& session, const WritePlan& plan) {
  Image& image = session.image();
  const ImageFacts facts = image.facts();
  const std::uint64_t end = plan.offset + plan.count;
  if (end > session.size()) {
    return EIO;
  }
  if (facts.format != Format::qcow2 || !facts.data_file_name.empty()) {
    return EOPNOTSUPP;
  }
  const bool tail_whole = plan.count % facts.cluster_bytes == 0 || end == session.size();
  if (plan.offset % facts.cluster_bytes != 0 || !tail_whole) {
    return EINVAL;
  }
  for (std::uint64_t position = plan.offset; position < std::min(end, image.size());) {
    const Result<BlockStatus> status = image.status(position, end - position, false);
    if (!status) {
      return session.report_failure(status.error());
    }
    if (status->allocated && (status->data || status->compressed)) {
      return EIO;
    }
    position += status->length;
  }
  return 0;
}

int check_kind(const IoSession& session, const TransferOptions& options, const WritePlan& plan) {
  if (options.no_fallback) {
    return check_no_fallback(session, plan);
  }
  return options.compressed ? check_compressed(session, plan) : 0;
}

BlockOperation operation_of(const TransferOptions& options) {
  if (options.zero) {
    return BlockOperation::write_zeroes;
  }
  return options.compressed ? BlockOperation::write_compressed : BlockOperation::write;
}

// The bytes to write. Nothing after a message.
std::optional<IoBuffer> make_source(const IoSession& session, const TransferOptions& options,
                                    std::uint64_t count) {
  IoBuffer buffer = session.make_buffer(count);
  if (!options.source_file) {
    buffer.fill(options.pattern.value_or(kWriteFill));
    return buffer;
  }
  if (const std::optional<std::string> complaint = buffer.fill_from_file(*options.source_file)) {
    fmt::print(stderr, "{}\n", *complaint);
    return std::nullopt;
  }
  return buffer;
}

}  // namespace

bool io_write(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  const std::optional<TransferOptions> options =
      parse_transfer(command, arguments, "bcCfnpP:qrs:uz");
  const std::optional<WritePlan> plan = options ? plan_write(command, *options) : std::nullopt;
  if (!plan) {
    return false;
  }
  if (options->vm_state) {
    print_io_error(session.context(), "write -b: the machine state cannot be written");
    return false;
  }
  BlockRequest request;
  request.operation = operation_of(*options);
  request.offset = plan->offset;
  request.length = plan->count;
  request.may_unmap = options->unmap && session.settings().discard;
  IoVector vector;
  std::optional<IoBuffer> buffer;
  if (!options->zero) {
    buffer = make_source(session, *options, plan->count);
    if (!buffer) {
      return false;
    }
    vector = {buffer->bytes().data(), buffer->bytes().size()};
    request.vectors = &vector;
    request.vector_count = 1;
  }
  const IoClock::time_point start = IoClock::now();
  int problem = check_kind(session, *options, *plan);
  if (problem == 0) {
    problem = session.perform(request, options->force_unit_access);
  }
  if (problem != 0) {
    return print_failure("write", problem);
  }
  print_report({"wrote", plan->offset, plan->count, plan->count, IoClock::now() - start}, *options);
  return true;
}

bool io_writev(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  const std::optional<TransferOptions> options = parse_transfer(command, arguments, "CfP:qr");
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
  vectors->buffer.fill(options->pattern.value_or(kWriteFill));
  BlockRequest request;
  request.operation = BlockOperation::write;
  request.offset = *offset;
  set_vectors(request, vectors->vectors, vectors->total);
  const IoClock::time_point start = IoClock::now();
  if (const int problem = session.perform(request, options->force_unit_access); problem != 0) {
    return print_failure("writev", problem);
  }
  print_report({"wrote", *offset, vectors->total, vectors->total, IoClock::now() - start},
               *options);
  return true;
}

}  // namespace varve::tool
