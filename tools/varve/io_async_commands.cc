// aio_read, aio_write and aio_flush.

#include <utility>

#include "io_functions.h"
#include "io_transfer.h"

namespace varve::tool {

namespace {

constexpr unsigned char kAioFill = 0xcd;

// The parts that reading and writing share. `list`: one transfer.
AsyncTransfer& prepare_transfer(std::list<AsyncTransfer>& list, IoSession& session,
                                const TransferOptions& options, std::uint64_t offset) {
  AsyncTransfer& transfer = list.emplace_back();
  transfer.session = &session;
  transfer.quiet = options.quiet;
  transfer.machine_readable = options.machine_readable;
  transfer.request.offset = offset;
  transfer.report.offset = offset;
  return transfer;
}

void set_length(AsyncTransfer& transfer, std::uint64_t length) {
  transfer.request.length = length;
  transfer.report.requested = length;
  transfer.report.done = length;
}

void take_vectors(AsyncTransfer& transfer, IoVectors&& vectors) {
  transfer.buffer = std::move(vectors.buffer);
  transfer.vectors = std::move(vectors.vectors);
  set_vectors(transfer.request, transfer.vectors, vectors.total);
  set_length(transfer, vectors.total);
}

// Length or lengths of aio_write. False after a message.
bool fill_write(AsyncTransfer& transfer, const IoSession& session, const TransferOptions& options) {
  if (options.zero) {
    const std::optional<std::uint64_t> length = take_count(options.operands[1]);
    if (!length) {
      return false;
    }
    if (options.registered) {
      print("cannot combine zero write with registered I/O buffer\n");
      return false;
    }
    transfer.request.operation = BlockOperation::write_zeroes;
    transfer.request.may_unmap = options.unmap && session.settings().discard;
    set_length(transfer, *length);
    return true;
  }
  std::optional<IoVectors> vectors = make_vectors(session, options.operands);
  if (!vectors) {
    return false;
  }
  vectors->buffer.fill(options.pattern.value_or(kAioFill));
  transfer.request.operation = BlockOperation::write;
  take_vectors(transfer, std::move(*vectors));
  return true;
}

}  // namespace

bool io_aio_read(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  const std::optional<TransferOptions> options = parse_transfer(command, arguments, "CiP:qrv");
  if (!options) {
    return false;
  }
  if (options->invalid) {
    print("injecting invalid read request\n");
    return true;
  }
  if (options->operands.size() < 2) {
    return print_io_usage(command);
  }
  const std::optional<std::uint64_t> offset = take_count(options->operands[0]);
  std::optional<IoVectors> vectors =
      offset ? make_vectors(session, options->operands) : std::nullopt;
  if (!vectors) {
    return false;
  }
  std::list<AsyncTransfer> list;
  AsyncTransfer& transfer = prepare_transfer(list, session, *options, *offset);
  transfer.report.operation = "read";
  transfer.failure = "readv";
  transfer.verbose = options->verbose;
  transfer.pattern = options->pattern;
  transfer.request.operation = BlockOperation::read;
  take_vectors(transfer, std::move(*vectors));
  session.async().start(std::move(list));
  return true;
}

bool io_aio_write(IoSession& session, const IoCommand& command, IoArguments& arguments) {
  const std::optional<TransferOptions> options = parse_transfer(command, arguments, "CfiP:qruz");
  if (!options) {
    return false;
  }
  if (options->invalid) {
    print("injecting invalid write request\n");
    return true;
  }
  if (options->operands.size() < 2) {
    return print_io_usage(command);
  }
  if (options->zero && options->operands.size() != 2) {
    print("-z supports only a single length parameter\n");
    return false;
  }
  if (options->unmap && !options->zero) {
    print("-u requires -z to be specified\n");
    return false;
  }
  const std::optional<std::uint64_t> offset = take_count(options->operands[0]);
  if (!offset) {
    return false;
  }
  std::list<AsyncTransfer> list;
  AsyncTransfer& transfer = prepare_transfer(list, session, *options, *offset);
  transfer.report.operation = "wrote";
  transfer.failure = "aio_write";
  transfer.force_unit_access = options->force_unit_access;
  if (!fill_write(transfer, session, *options)) {
    return false;
  }
  session.async().start(std::move(list));
  return true;
}

bool io_aio_flush(IoSession& session, const IoCommand&, IoArguments&) {
  session.async().drain();
  return true;
}

}  // namespace varve::tool
