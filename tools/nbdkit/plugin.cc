// The nbdkit plugin: an image, or one of its snapshots, as an NBD export. docs/NBD.md is its page.
//
// nbdkit's calls come from many threads, before and after it forks; what they need done is done by
// the DiskServer's thread, which is started after the fork: engines do not survive one.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <varve/snapshot.h>
#include <varve/version.h>

#include "disk_server.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

namespace varve::nbd {
namespace {

// What nbdkit has one of, too.
ServerOptions options;
std::optional<DiskServer> server;
std::atomic<unsigned> clients = 0;  // nbdkit closes a connection after its last request.

// nbdkit before 1.34 ends with a failed assertion when a client vanishes whose requests were being
// answered by several threads (its own memory plugin shows it). One request at a time on each
// connection is safe there; connections still work side by side.
bool is_parallel = NBDKIT_VERSION_MAJOR > 1 || NBDKIT_VERSION_MINOR >= 34;

struct DiskFacts {
  std::uint64_t size = 0;
  std::uint32_t cluster_bytes = 0;
  bool zeroes_cheaply = false;
} facts;

int errno_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::no_space:
      return ENOSPC;
    case ErrorCode::no_memory:
      return ENOMEM;
    case ErrorCode::read_only:
      return EPERM;
    case ErrorCode::out_of_range:
    case ErrorCode::invalid_argument:
      return EINVAL;
    case ErrorCode::unsupported:
      return ENOTSUP;
    default:
      return EIO;
  }
}

int refuse(const Error& error, const std::string& text) {
  nbdkit_error("%s", text.c_str());
  nbdkit_set_error(errno_of(error));
  return -1;
}

// --- parameters and start ------------------------------------------------------------------------

int set_bool(const char* value, bool& target) {
  const int parsed = nbdkit_parse_bool(value);
  target = parsed == 1;
  return parsed < 0 ? -1 : 0;
}

int set_path(const char* value, std::string& target) {
  // nbdkit changes its folder when it goes into the background.
  char* absolute = nbdkit_absolute_path(value);
  if (absolute == nullptr) {
    return -1;
  }
  target = absolute;
  std::free(absolute);
  return 0;
}

int set_one_of(std::string_view key, std::string_view value, std::string_view first,
               std::string_view second, bool& is_second) {
  if (value != first && value != second) {
    nbdkit_error("%s must be %s or %s", std::string(key).c_str(), std::string(first).c_str(),
                 std::string(second).c_str());
    return -1;
  }
  is_second = value == second;
  return 0;
}

int config(const char* key_text, const char* value) {
  const std::string_view key = key_text;
  bool chosen = false;
  int result = 0;
  if (key == "file") {
    result = set_path(value, options.path);
  } else if (key == "control") {
    result = set_path(value, options.control);
  } else if (key == "snapshot") {
    options.snapshot = value;
  } else if (key == "readonly") {
    result = set_bool(value, chosen);
    options.writable = !chosen;
  } else if (key == "format") {
    result = set_one_of(key, value, "qcow2", "raw", chosen);
    options.open.format = chosen ? Format::raw : Format::qcow2;
  } else if (key == "discard") {
    result = set_one_of(key, value, "unmap", "ignore", chosen);
    options.open.discard = chosen ? DiscardMode::ignore : DiscardMode::unmap;
  } else if (key == "direct") {
    result = set_bool(value, options.open.file.direct);
  } else if (key == "lock-timeout") {
    result = nbdkit_parse_unsigned("lock-timeout", value, &options.lock_timeout_seconds);
  } else if (key == "parallel") {
    result = set_bool(value, is_parallel);
  } else if (key == "aio") {
    result = set_one_of(key, value, "io_uring", "threads", chosen);
    options.engine.backend = chosen ? AioBackend::threads : AioBackend::io_uring;
  } else {
    nbdkit_error("unknown parameter '%s'", key_text);
    result = -1;
  }
  return result;
}

void load() {
  options.clients = &clients;
  options.open.discard = DiscardMode::unmap;
  // What the engine logs stands beside nbdkit's own messages.
  options.engine.log = [](void*, LogLevel level, const char* text) {
    if (level == LogLevel::info) {
      nbdkit_debug("%s", text);
    } else {
      nbdkit_error("%s", text);
    }
  };
}

int config_complete() {
  if (options.path.empty()) {
    nbdkit_error("say which image: file=IMAGE");
    return -1;
  }
  if (!options.snapshot.empty()) {
    options.writable = false;
  }
  return 0;
}

int thread_model() {
  return is_parallel ? NBDKIT_THREAD_MODEL_PARALLEL : NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
}

// Once before the fork, where an error is seen and ends the command with one; nothing is left open.
int get_ready() {
  DiskServer trial;
  Failure failure;
  if (!trial.start(options, failure) || !trial.stop(failure)) {
    const bool may_help =
        options.writable && (failure.error.os_errno == EACCES || failure.error.os_errno == EROFS ||
                             failure.error.code == ErrorCode::read_only);
    return refuse(failure.error,
                  failure.text + (may_help ? " (readonly=true opens it for reading)" : ""));
  }
  return 0;
}

int after_fork() {
  Failure failure;
  server.emplace();
  if (!server->start(options, failure)) {
    server.reset();
    return refuse(failure.error, failure.text);
  }
  server->call([](Image& disk) {
    const ImageFacts its = disk.facts();
    facts.size = disk.size();
    facts.cluster_bytes = its.cluster_bytes;
    facts.zeroes_cheaply = its.format == Format::qcow2 && its.version >= 3;
  });
  return 0;
}

void cleanup() {
  Failure failure;
  if (server && !server->stop(failure)) {
    nbdkit_error("%s: %s", options.path.c_str(), failure.text.c_str());
  }
  server.reset();
}

// --- a connection --------------------------------------------------------------------------------

void* open_connection(int) {
  ++clients;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

void close_connection(void*) {
  --clients;
}

int64_t get_size(void*) {
  return static_cast<int64_t>(facts.size);
}

int can_write(void*) {
  return options.writable ? 1 : 0;
}

// nbdkit flushes after a request with FUA: concurrent flushes share their barriers.
int can_fua(void*) {
  return options.writable ? NBDKIT_FUA_EMULATE : NBDKIT_FUA_NONE;
}

// Safe: every connection uses the one image of the one disk's thread. There is no cache per
// connection that a flush elsewhere would miss.
int can_multi_conn(void*) {
  return 1;
}

int can_fast_zero(void*) {
  return facts.zeroes_cheaply ? 1 : 0;
}

int yes(void*) {
  return 1;
}

int no(void*) {
  return 0;
}

// Any byte may be addressed. A cluster is what is mapped, zeroed and given back as one.
int block_size(void*, std::uint32_t* minimum, std::uint32_t* preferred, std::uint32_t* maximum) {
  *minimum = 1;
  *preferred = std::clamp<std::uint32_t>(facts.cluster_bytes, 4096, 2u << 20);
  *maximum = std::numeric_limits<std::uint32_t>::max();
  return 0;
}

// --- requests ------------------------------------------------------------------------------------

int carry_out(const char* what, BlockOperation operation, std::byte* memory, std::uint32_t count,
              std::uint64_t offset, bool may_unmap = false) {
  IoVector piece{memory, count};
  BlockRequest request;
  request.operation = operation;
  request.may_unmap = may_unmap;
  request.offset = offset;
  request.length = count;
  if (memory != nullptr) {
    request.vectors = &piece;
    request.vector_count = 1;
  }
  const Result<void> result = server->carry_out(request);
  if (result) {
    return 0;
  }
  return refuse(result.error(), std::string(what) + " at " + std::to_string(offset) + ": " +
                                    describe(result.error()));
}

int pread(void*, void* target, std::uint32_t count, std::uint64_t offset, std::uint32_t) {
  return carry_out("read", BlockOperation::read, static_cast<std::byte*>(target), count, offset);
}

int pwrite(void*, const void* source, std::uint32_t count, std::uint64_t offset, std::uint32_t) {
  // Vectors serve both directions; a write only reads them.
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(source));
  return carry_out("write", BlockOperation::write, bytes, count, offset);
}

int flush(void*, std::uint32_t) {
  return carry_out("flush", BlockOperation::flush, nullptr, 0, 0);
}

int trim(void*, std::uint32_t count, std::uint64_t offset, std::uint32_t) {
  return carry_out("trim", BlockOperation::discard, nullptr, count, offset);
}

// FAST_ZERO is only asked for where zeroing is a matter of tables.
int zero(void*, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
  return carry_out("zero", BlockOperation::write_zeroes, nullptr, count, offset,
                   (flags & NBDKIT_FLAG_MAY_TRIM) != 0);
}

int extents(void*, std::uint32_t count, std::uint64_t offset, std::uint32_t flags,
            nbdkit_extents* list) {
  // So many per call, to let other requests through; the client asks again behind the last.
  constexpr unsigned kExtentsMax = 256;
  Result<void> result;
  int added = 0;
  server->call([&](Image& disk) {
    std::uint64_t at = offset;
    const std::uint64_t end = offset + count;
    for (unsigned i = 0; i < kExtentsMax && at < end && added == 0; ++i) {
      const Result<BlockStatus> status = disk.status(at, end - at);
      if (!status) {
        result = status.error();
        return;
      }
      const unsigned hole = status->data ? 0 : NBDKIT_EXTENT_HOLE;
      const unsigned zero = status->zero ? NBDKIT_EXTENT_ZERO : 0;
      added = nbdkit_add_extent(list, at, status->length, hole | zero);
      at += status->length;
      if ((flags & NBDKIT_FLAG_REQ_ONE) != 0) {
        return;
      }
    }
  });
  if (!result) {
    return refuse(result.error(),
                  "extents at " + std::to_string(offset) + ": " + describe(result.error()));
  }
  return added;
}

// No exception crosses into nbdkit.
template <auto function, class... Arguments>
int guarded(Arguments... arguments) {
  try {
    return function(arguments...);
  } catch (const std::exception& failure) {
    nbdkit_error("%s", failure.what());
    nbdkit_set_error(ENOMEM);
    return -1;
  }
}

constexpr const char* kHelp =
    "file=IMAGE          The image.\n"
    "snapshot=NAME       Serve this snapshot (name, id or UUID), read-only.\n"
    "control=SOCKET      Take orders for snapshots there (varve ctl).\n"
    "readonly=BOOL       Open the image for reading only; several servers may.\n"
    "format=qcow2|raw    The image's format (qcow2).\n"
    "discard=unmap|ignore  Whether trimmed space is given back to the file system (unmap).\n"
    "direct=BOOL         Past the page cache.\n"
    "lock-timeout=SECONDS  How long another program may still have the image (3).\n"
    "parallel=BOOL       Several requests of one connection at a time (from nbdkit 1.34 on).\n"
    "aio=io_uring|threads  How I/O is done (io_uring where there is).";

nbdkit_plugin make_plugin() {
  nbdkit_plugin plugin = {};
  plugin.name = "varve";
  plugin.longname = "Varve: qcow2 images and their snapshots";
  plugin.version = VARVE_VERSION;
  plugin.config_help = kHelp;
  plugin.magic_config_key = "file";
  plugin.load = load;
  plugin.config = [](const char* key, const char* value) { return guarded<config>(key, value); };
  plugin.config_complete = config_complete;
  plugin.thread_model = thread_model;
  plugin.get_ready = [] { return guarded<get_ready>(); };
  plugin.after_fork = [] { return guarded<after_fork>(); };
  plugin.cleanup = cleanup;
  plugin.open = open_connection;
  plugin.close = close_connection;
  plugin.get_size = get_size;
  plugin.block_size = block_size;
  plugin.can_write = can_write;
  plugin.can_flush = yes;
  plugin.can_trim = can_write;
  plugin.can_zero = can_write;
  plugin.can_fast_zero = can_fast_zero;
  plugin.can_fua = can_fua;
  plugin.can_multi_conn = can_multi_conn;
  plugin.can_extents = yes;
  plugin.is_rotational = no;
  plugin.pread = guarded<pread, void*, void*, std::uint32_t, std::uint64_t, std::uint32_t>;
  plugin.pwrite = guarded<pwrite, void*, const void*, std::uint32_t, std::uint64_t, std::uint32_t>;
  plugin.flush = guarded<flush, void*, std::uint32_t>;
  plugin.trim = guarded<trim, void*, std::uint32_t, std::uint64_t, std::uint32_t>;
  plugin.zero = guarded<zero, void*, std::uint32_t, std::uint64_t, std::uint32_t>;
  plugin.extents =
      guarded<extents, void*, std::uint32_t, std::uint64_t, std::uint32_t, nbdkit_extents*>;
  return plugin;
}

nbdkit_plugin the_plugin = make_plugin();

}  // namespace
}  // namespace varve::nbd

NBDKIT_REGISTER_PLUGIN(varve::nbd::the_plugin)
