// Commands about the disk as a whole: flush, discard, truncate, alloc, map, length, info.

#include <algorithm>

#include "io_functions.h"
#include "io_open.h"
#include "io_parse.h"
#include "io_transfer.h"
#include "messages.h"
#include "preallocation.h"

namespace varve::tool {

namespace {

std::string size_text(std::uint64_t bytes) {
  return io_size_text(static_cast<double>(bytes));
}

const char* yes_or_no(bool value) {
  return value ? "true" : "false";
}

// Where QEMU keeps saved machine state: after the disk, rounded up to what one L2 table maps.
std::uint64_t vm_state_offset(const ImageFacts& facts) {
  const std::uint64_t entry_bytes = facts.extended_l2 ? 16 : 8;
  const std::uint64_t table_reach = facts.cluster_bytes / entry_bytes * facts.cluster_bytes;
  return (facts.virtual_size + table_reach - 1) / table_reach * table_reach;
}

void print_format_specific(const ImageFacts& facts) {
  const bool version_3 = facts.version >= 3;
  print("Format specific information:\n    compat: {}\n", version_3 ? "1.1" : "0.10");
  print("    compression type: {}\n", facts.compression == Compression::zstd ? "zstd" : "zlib");
  if (version_3) {
    print("    lazy refcounts: {}\n", yes_or_no(facts.lazy_refcounts));
  }
  print("    refcount bits: {}\n", facts.refcount_bits);
  if (!facts.data_file_name.empty()) {
    print("    data file: {}\n    data file raw: {}\n", facts.data_file_name,
          yes_or_no(facts.data_file_raw));
  }
  if (version_3) {
    print("    corrupt: {}\n    extended l2: {}\n", yes_or_no(facts.corrupt),
          yes_or_no(facts.extended_l2));
  }
}

// Why the size cannot become `size`; null when it can be tried.
const char* find_size_problem(const ImageFacts& facts, std::uint64_t size,
                              Preallocation preallocation) {
  if (facts.format == Format::raw && preallocation == Preallocation::metadata) {
    return "Unsupported preallocation mode: metadata";
  }
  if (facts.format == Format::qcow2 && size % kSectorBytes != 0) {
    return "The new size must be a multiple of 512";
  }
  if (size < facts.virtual_size) {
    if (preallocation == Preallocation::off) {
      return "truncate: making a disk smaller is not supported; only a larger size works";
    }
    return facts.format == Format::raw ? "Cannot use preallocation for shrinking files"
                                       : "Preallocation can't be used for shrinking an image";
  }
  return nullptr;
}

// The run from `offset` on, within [offset, end), that is all allocated in the top layer or all
// not.
struct IoRun {
  std::uint64_t length = 0;
  bool allocated = false;
};
Result<IoRun> find_run(Image& image, std::uint64_t offset, std::uint64_t end) {
  IoRun run;
  while (offset + run.length < end) {
    const std::uint64_t position = offset + run.length;
    // The disk's last sector may stand in a file that ends within it.
    if (position >= image.size()) {
      run.length = end - offset;
      break;
    }
    const Result<BlockStatus> status = image.status(position, end - position, false);
    if (!status) {
      return status.error();
    }
    if (status->length == 0 || (run.length != 0 && status->allocated != run.allocated)) {
      break;
    }
    run.allocated = status->allocated;
    run.length += std::min(status->length, end - position);
  }
  return run;
}

}  // namespace

bool io_flush(IoSession& session, const IoCommand&, IoArguments&) {
  session.async().finish_deferred();
  return session.flush() == 0;
}

bool io_discard(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  const std::optional<TransferOptions> options = parse_transfer(command, arguments, "Cq");
  if (!options) {
    return false;
  }
  if (options->operands.size() != 2) {
    return print_io_usage(command);
  }
  const std::optional<std::uint64_t> offset = take_count(options->operands[0]);
  const std::optional<std::uint64_t> count = offset ? take_count(options->operands[1]) : offset;
  if (!count) {
    return false;
  }
  if (*count > kRequestMax) {
    print("length cannot exceed {}, given {}\n", kRequestMax, options->operands[1]);
    return false;
  }
  BlockRequest request;
  request.operation = BlockOperation::discard;
  request.offset = *offset;
  request.length = *count;
  const IoClock::time_point start = IoClock::now();
  if (const int problem = session.perform(request); problem != 0) {
    return print_failure("discard", problem);
  }
  print_report({"discard", *offset, *count, *count, IoClock::now() - start}, *options);
  return true;
}

bool io_truncate(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  std::optional<Preallocation> preallocation = Preallocation::off;
  for (int letter = 0; (letter = arguments.next_option("m:")) != -1;) {
    if (letter != 'm') {
      return print_io_usage(command);
    }
    preallocation = preallocation_by_name(optarg);
    if (!preallocation) {
      print_io_error(session.context(), fmt::format("Invalid preallocation mode '{}'", optarg));
      return false;
    }
  }
  const std::vector<std::string> operands = arguments.operands();
  // qemu-io names the first argument in its complaint, whichever it is.
  std::string complaint;
  const std::optional<std::uint64_t> size =
      parse_count(operands.empty() ? "" : operands[0], complaint);
  if (!size) {
    print("{}{}\n", complaint, arguments.moved(1));
    return false;
  }
  session.async().finish_deferred();
  const char* problem = find_size_problem(session.image().facts(), *size, *preallocation);
  if (problem != nullptr) {
    print_io_error(session.context(), problem);
    return false;
  }
  if (*size == session.image().size()) {
    return true;
  }
  const Result<void> grown = session.image().grow(*size, *preallocation);
  if (!grown) {
    print_io_error(session.context(), short_words(grown.error()));
  }
  return grown.has_value();
}

bool io_alloc(IoSession& session, const IoCommand&, IoArguments& arguments) {
  const std::optional<std::uint64_t> offset = take_count(arguments.word(1));
  if (!offset) {
    return false;
  }
  std::optional<std::uint64_t> count = kSectorBytes;
  if (arguments.count() > 2) {
    count = take_count(arguments.word(2));
    if (!count) {
      return false;
    }
  }
  session.async().finish_deferred();
  const std::uint64_t disk = session.size();
  const std::uint64_t length = *offset < disk ? std::min(*count, disk - *offset) : 0;
  const std::uint64_t end = *offset + length;
  std::uint64_t allocated = 0;
  for (std::uint64_t position = *offset; position < end;) {
    const Result<IoRun> run = find_run(session.image(), position, end);
    if (!run) {
      return print_failure("is_allocated", session.report_failure(run.error()));
    }
    allocated += run->allocated ? run->length : 0;
    position += run->length;
  }
  print("{}/{} bytes allocated at offset {}\n", allocated, length, size_text(*offset));
  return true;
}

bool io_map(IoSession& session, const IoCommand&, IoArguments&) {
  session.async().finish_deferred();
  const std::uint64_t end = session.size();
  for (std::uint64_t position = 0; position < end;) {
    const Result<IoRun> run = find_run(session.image(), position, end);
    if (!run) {
      print("Failed to get allocation status: {}\n",
            system_words(session.report_failure(run.error())));
      return false;
    }
    (void)std::fputs(io_extent_text(position, run->length, run->allocated).c_str(), stdout);
    position += run->length;
  }
  return true;
}

bool io_length(IoSession& session, const IoCommand&, IoArguments&) {
  print("{}\n", size_text(session.size()));
  return true;
}

bool io_info(IoSession& session, const IoCommand&, IoArguments&) {
  const ImageFacts facts = session.image().facts();
  const bool qcow2 = facts.format == Format::qcow2;
  print("format name: {}\n", session.format());
  if (session.format() == "file") {
    print("format name: file\n");  // Once as a format, once as a protocol.
  }
  print("cluster size: {}\n", size_text(qcow2 ? facts.cluster_bytes : 0));
  print("vm state offset: {}\n", size_text(qcow2 ? vm_state_offset(facts) : 0));
  if (qcow2) {
    print_format_specific(facts);
  }
  return true;
}

}  // namespace varve::tool
