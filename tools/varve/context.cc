#include "context.h"

namespace varve::tool {

Engine* Context::engine() {
  if (engine_ == nullptr) {
    Result<std::unique_ptr<Engine>> made = Engine::create(engine_options);
    if (!made) {
      error("cannot start the I/O engine: {}", describe(made.error()));
      return nullptr;
    }
    engine_ = std::move(*made);
  }
  return engine_.get();
}

void Context::print_error(std::string_view text) const {
  std::fflush(stdout);
  fmt::print(stderr, "{}: {}\n", program, text);
}

int Context::print_try_help(std::string_view verb) const {
  if (verb.empty()) {
    fmt::print(stderr, "Try '{} --help' for more info\n", program);
  } else {
    fmt::print(stderr, "Try '{} {} --help' for more info\n", program, verb);
  }
  return 1;
}

const char* engine_name(AioBackend backend) {
  switch (backend) {
    case AioBackend::io_uring:
      return "io_uring";
    case AioBackend::threads:
      return "threads";
    case AioBackend::automatic:
      break;
  }
  return "automatic";
}

}  // namespace varve::tool
