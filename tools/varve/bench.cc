// varve bench: how fast requests of one kind run on an image.

#include <chrono>
#include <cstring>
#include <vector>

#include <varve/image.h>

#include "image_argument.h"
#include "json_text.h"
#include "messages.h"
#include "options.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kBenchHelp = R"(Time requests on an image.  Usage:

  {0} bench [-f FMT | --image-opts] [-t CACHE] [-c COUNT] [-d DEPTH] [-o OFFSET]
        [-s BUFFER_SIZE] [-S STEP_SIZE] [-i AIO] [-n] [-q] [-U] [--order random|step] [--json]
        [-w [--pattern PATTERN] [--flush-interval INTERVAL [--no-drain]]] FILENAME

  -f, --format FMT              raw or qcow2; detected otherwise
  -t, --cache CACHE             writeback (default), none, ...
  -c, --count COUNT             requests (75000)
  -d, --depth DEPTH             in flight (64)
  -o, --offset OFFSET           of the first request
  -s, --buffer-size SIZE        bytes per request (4096)
  -S, --step-size SIZE          from one request to the next (the buffer's size)
  -i, --aio AIO                 io_uring, threads or native
  -w, --write                   write instead of reading
  --pattern PATTERN             this byte
  --flush-interval N            and flush after every N requests
  --no-drain                    without waiting for those in flight
  --order random|step           where requests go; random: multiples of the buffer's size
  --json                        the answer as JSON

Example:
  {0} bench -t none -d 32 --order random disk.qcow2
)";

constexpr option kBenchLongOptions[] = {
    kHelpOption,
    kQuietOption,
    kObjectOption,
    kFormatOption,
    kImageOptsOption,
    {"cache", required_argument, nullptr, 't'},
    {"count", required_argument, nullptr, 'c'},
    {"buffer-size", required_argument, nullptr, 's'},
    {"depth", required_argument, nullptr, 'd'},
    {"offset", required_argument, nullptr, 'o'},
    {"step-size", required_argument, nullptr, 'S'},
    {"aio", required_argument, nullptr, 'i'},
    {"native", no_argument, nullptr, 'n'},
    {"write", no_argument, nullptr, 'w'},
    {"pattern", required_argument, nullptr, kOptionPattern},
    {"flush-interval", required_argument, nullptr, kOptionFlushInterval},
    {"no-drain", no_argument, nullptr, kOptionNoDrain},
    kForceShareOption,
    {"order", required_argument, nullptr, kOptionOrder},
    {"json", no_argument, nullptr, kOptionJson},
    kEndOfOptions};

constexpr std::uint64_t kBenchCountMax = 2147483647;

struct BenchRequest {
  ImageArgument image;
  std::uint64_t count = 75000;
  std::uint64_t depth = 64;
  std::uint64_t buffer_bytes = 4096;
  std::uint64_t step_bytes = 0;  // 0: as large as the buffer.
  std::uint64_t offset = 0;
  std::uint64_t flush_interval = 0;
  std::uint64_t pattern = 0;
  bool drain = true;
  bool random_order = false;
  bool native_aio = false;
  bool json = false;
};

class Bench {
 public:
  Bench(Image& image, const BenchRequest& request)
      : image_(image), request_(request), offset_(request.offset) {}

  // The first failure of a request.
  Result<void> run();
  [[nodiscard]] double seconds() const { return seconds_; }

 private:
  struct Slot {
    Bench* bench = nullptr;
    bool busy = false;
    IoVector vector;
    BlockRequest request;
  };
  static void on_complete(BlockRequest& request, const Result<void>& result);
  void prepare();
  void submit_while_possible();
  void submit(Slot& slot, BlockOperation operation);
  std::uint64_t next_offset();
  Slot* find_idle();

  Image& image_;
  const BenchRequest& request_;
  std::vector<Slot> slots_;
  std::vector<std::byte> memory_;
  std::uint64_t offset_;
  std::uint64_t submitted_ = 0;
  std::uint64_t in_flight_ = 0;
  bool flush_due_ = false;
  std::uint64_t random_ = 0x9e3779b97f4a7c15u;
  Result<void> result_;
  double seconds_ = 0;
};

void Bench::on_complete(BlockRequest& request, const Result<void>& result) {
  Slot& slot = *static_cast<Slot*>(request.owner);
  slot.busy = false;
  --slot.bench->in_flight_;
  if (!result && slot.bench->result_) {
    slot.bench->result_ = result;
  }
}

void Bench::prepare() {
  constexpr std::size_t kAlignment = 4096;
  const auto size = static_cast<std::size_t>(request_.buffer_bytes);
  const std::size_t stride = (size + kAlignment - 1) / kAlignment * kAlignment;
  const auto depth = static_cast<std::size_t>(request_.depth);
  memory_.assign(stride * depth + kAlignment, static_cast<std::byte>(request_.pattern));
  void* start = memory_.data();
  std::size_t space = memory_.size();
  auto* aligned = static_cast<std::byte*>(std::align(kAlignment, stride * depth, start, space));
  // One slot more than requests in flight: flushes that do not drain go beside them.
  slots_ = std::vector<Slot>(depth + 1);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].bench = this;
    slots_[i].vector = {aligned + stride * std::min(i, depth - 1), size};
  }
}

std::uint64_t Bench::next_offset() {
  const std::uint64_t size = image_.size();
  if (request_.random_order) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    const std::uint64_t places = size / request_.buffer_bytes;
    return places == 0 ? 0 : random_ % places * request_.buffer_bytes;
  }
  const std::uint64_t offset = offset_;
  const std::uint64_t step = request_.step_bytes == 0 ? request_.buffer_bytes : request_.step_bytes;
  offset_ = size == 0 ? 0 : (offset_ + step) % size;
  return offset;
}

Bench::Slot* Bench::find_idle() {
  for (Slot& slot : slots_) {
    if (!slot.busy) {
      return &slot;
    }
  }
  return nullptr;
}

void Bench::submit(Slot& slot, BlockOperation operation) {
  slot.busy = true;
  slot.request = BlockRequest{};
  slot.request.operation = operation;
  if (operation != BlockOperation::flush) {
    slot.request.offset = next_offset();
    slot.request.length = request_.buffer_bytes;
    slot.request.vectors = &slot.vector;
    slot.request.vector_count = 1;
    ++submitted_;
  }
  slot.request.complete = on_complete;
  slot.request.owner = &slot;
  ++in_flight_;
  image_.submit(slot.request);
}

void Bench::submit_while_possible() {
  const BlockOperation operation =
      request_.image.writable ? BlockOperation::write : BlockOperation::read;
  while (result_) {
    Slot* slot = find_idle();
    if (slot == nullptr) {
      return;
    }
    if (flush_due_) {
      if (request_.drain && in_flight_ != 0) {
        return;
      }
      submit(*slot, BlockOperation::flush);
      flush_due_ = false;
      if (request_.drain) {
        return;
      }
      continue;
    }
    if (submitted_ == request_.count || in_flight_ >= request_.depth) {
      return;
    }
    submit(*slot, operation);
    flush_due_ = request_.flush_interval != 0 && submitted_ % request_.flush_interval == 0;
  }
}

Result<void> Bench::run() {
  prepare();
  const auto started = std::chrono::steady_clock::now();
  for (;;) {
    submit_while_possible();
    if (in_flight_ == 0 && (submitted_ == request_.count || !result_)) {
      break;
    }
    image_.engine().wait();
  }
  seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return result_;
}

void print_start(const BenchRequest& request) {
  print(
      "Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step size "
      "{})\n",
      request.count, request.image.writable ? "write" : "read", request.buffer_bytes, request.depth,
      request.offset, request.step_bytes == 0 ? request.buffer_bytes : request.step_bytes);
  if (request.flush_interval != 0) {
    print("Sending flush every {} requests\n", request.flush_interval);
  }
}

void print_json(const BenchRequest& request, const Bench& bench, AioBackend backend) {
  const auto count = static_cast<double>(request.count);
  Json node;
  node["requests"] = request.count;
  node["write"] = request.image.writable;
  node["bytes-each"] = request.buffer_bytes;
  node["depth"] = request.depth;
  node["order"] = request.random_order ? "random" : "step";
  node["flush-interval"] = request.flush_interval;
  node["engine"] = engine_name(backend);
  node["seconds"] = bench.seconds();
  node["requests-per-second"] = bench.seconds() > 0 ? count / bench.seconds() : 0;
  print("{}\n", format_json(node));
}

int run_on(Context& context, const BenchRequest& request, OpenedImage& opened) {
  if (!request.json) {
    print_start(request);
  }
  Bench bench(*opened.image, request);
  const Result<void> result = bench.run();
  if (!result) {
    context.error("Failed request: {}", result.error().code == ErrorCode::out_of_range
                                            ? system_words(EIO)
                                            : short_words(result.error()));
    return 1;
  }
  if (request.json) {
    print_json(request, bench, context.engine()->backend());
  } else {
    print("Run completed in {:3.3f} seconds.\n", bench.seconds());
  }
  return 0;
}

// Options with a number. False after a message.
bool take_number(const Context& context, int letter, const std::string& text,
                 BenchRequest& request) {
  struct Row {
    int letter;
    const char* what;
    std::uint64_t minimum;
    std::uint64_t maximum;
    std::uint64_t* target;
  };
  const Row rows[] = {
      {'c', "request count", 1, kBenchCountMax, &request.count},
      {'d', "queue depth", 1, kBenchCountMax, &request.depth},
      {'s', "buffer size", 1, kBenchCountMax, &request.buffer_bytes},
      {'S', "step size", 0, kBenchCountMax, &request.step_bytes},
      {'o', "offset", 0, kNumberMax, &request.offset},
      {kOptionPattern, "pattern byte", 0, 255, &request.pattern},
      {kOptionFlushInterval, "flush interval", 0, kBenchCountMax, &request.flush_interval},
  };
  for (const Row& row : rows) {
    if (row.letter == letter) {
      const std::optional<std::uint64_t> number =
          parse_number(context, row.what, text, row.minimum, row.maximum);
      if (number) {
        *row.target = *number;
      }
      return number.has_value();
    }
  }
  context.print_try_help("bench");
  return false;
}

// Options with words. False after a message.
bool take_word(Context& context, int letter, const std::string& text, BenchRequest& request) {
  if (letter == 't') {
    const std::optional<CacheMode> cache = parse_cache_mode(text);
    if (!cache) {
      context.error("Invalid cache mode");
      return false;
    }
    request.image.cache = *cache;
    return true;
  }
  if (letter == kOptionOrder) {
    if (text != "random" && text != "step") {
      context.usage_error("bench", "--order expects 'random' or 'step' not '{}'", text);
      return false;
    }
    request.random_order = text == "random";
    return true;
  }
  request.native_aio = text == "native";
  if (text == "io_uring") {
    context.engine_options.backend = AioBackend::io_uring;
  } else if (text == "threads") {
    context.engine_options.backend = AioBackend::threads;
  } else if (!request.native_aio) {
    context.error("Invalid aio option: {}", text);
    return false;
  }
  return true;
}

// Options without a value. False for letters that are none of them.
bool take_flag(int letter, BenchRequest& request) {
  switch (letter) {
    case 'w':
      request.image.writable = true;
      break;
    case 'U':
      request.image.force_share = true;
      break;
    case kOptionImageOpts:
      request.image.image_opts = true;
      break;
    case kOptionNoDrain:
      request.drain = false;
      break;
    case kOptionJson:
      request.json = true;
      break;
    case 'n':
      request.native_aio = true;
      break;
    case 'q':
    case kOptionObject:
      break;
    default:
      return false;
  }
  return true;
}

}  // namespace

int run_bench(Context& context, int argc, char** argv) {
  BenchRequest request;
  OptionParser parser(context, "bench", argc, argv, "hc:d:f:ni:o:qs:S:t:wU", kBenchLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    if (letter == 'h') {
      print(kBenchHelp, context.program);
      return 0;
    }
    bool taken = take_flag(letter, request);
    if (!taken && letter == 'f') {
      request.image.format = parser.value();
      taken = true;
    } else if (!taken && (letter == 't' || letter == 'i' || letter == kOptionOrder)) {
      taken = take_word(context, letter, parser.value(), request);
    } else if (!taken) {
      taken = take_number(context, letter, letter == '?' ? "" : parser.value(), request);
    }
    if (!taken) {
      return 1;
    }
  }
  const std::vector<std::string> operands = parser.operands();
  if (operands.size() != 1) {
    return context.usage_error("bench", "Expecting one image file name");
  }
  request.image.text = operands[0];
  if (request.flush_interval != 0 && !request.image.writable) {
    context.error("--flush-interval is only available in write tests");
    return 1;
  }
  if (request.flush_interval != 0 && request.flush_interval < request.depth) {
    context.error("Flush interval can't be smaller than depth");
    return 1;
  }
  if (!check_image_opts(context, request.image)) {
    return 1;
  }
  std::optional<OpenedImage> opened = open_image(context, request.image);
  if (!opened) {
    return 1;
  }
  if (request.native_aio && !request.image.cache.direct) {
    context.error("Could not open '{}': {}", request.image.text, kNativeNeedsDirect);
    return 1;
  }
  const int code = run_on(context, request, *opened);
  return close_image(context, *opened) ? code : 1;
}

}  // namespace varve::tool
