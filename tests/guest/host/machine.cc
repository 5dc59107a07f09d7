#include "guest/host/machine.h"

#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace varve::test {
namespace {

Error error_of(const char* what) noexcept {
  Error error;
  error.code = ErrorCode::io;
  error.os_errno = errno;
  error.what = what;
  return error;
}

const char* name_of(EnabledState state) noexcept {
  return state == EnabledState::running ? "running" : "off";
}

}  // namespace

Result<void> Machine::add_disk(Engine& engine, const std::string& path) {
  OpenOptions options;
  options.writable = true;
  options.discard = DiscardMode::unmap;
  Result<std::unique_ptr<Image>> image = Image::open(engine, path, options);
  if (!image) {
    return image.error();
  }
  images_.push_back(std::move(*image));
  exports_.push_back(std::make_unique<NbdExport>(*images_.back()));
  return exports_.back()->listen(path + ".nbd") ? Result<void>()
                                                : error_of("a disk cannot be served");
}

SystemDefinition Machine::definition() {
  SystemDefinition definition;
  definition.id = Uuid::make_random();
  definition.element_name = name_;
  for (const std::unique_ptr<Image>& image : images_) {
    definition.disks.emplace_back().image = image.get();
  }
  definition.provider = this;
  definition.enabled_state = [this] { return state; };
  return definition;
}

Result<void> Machine::close() {
  for (const std::unique_ptr<NbdExport>& one : exports_) {
    while (one->has_requests()) {
      loop_->turn(-1, nullptr);
    }
  }
  exports_.clear();
  Result<void> closed;
  for (const std::unique_ptr<Image>& image : images_) {
    const Result<void> result = image->close();
    closed = closed ? result : closed;
  }
  images_.clear();
  return closed;
}

Result<void> Machine::quiesce(ConsistencyLevel, unsigned) noexcept {
  return ask("quiesce " + name_) ? Result<void>() : error_of("the guest cannot be stopped");
}

void Machine::resume() noexcept {
  ask("resume " + name_);
}

Result<void> Machine::save(StateSink& sink) noexcept {
  const int pipe = ::open(pipe_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (pipe < 0) {
    return error_of("the pipe for the state cannot be opened");
  }
  Result<void> written;
  std::array<std::byte, 65536> piece;
  const auto take_piece = [&] {
    const ssize_t count = ::read(pipe, piece.data(), piece.size());
    if (count > 0 && written) {
      written = sink.write(std::span(piece).first(static_cast<std::size_t>(count)));
    }
    return count > 0 || (count < 0 && errno == EAGAIN);
  };
  const Result<void> saved = ask("save " + name_ + " " + pipe_, pipe, POLLIN, take_piece);
  ::close(pipe);
  return saved ? written : saved;
}

Result<void> Machine::load(StateSource* source, EnabledState loaded) noexcept {
  const std::string request = "load " + name_ + " " + name_of(loaded);
  if (source == nullptr) {
    if (!ask(request)) {
      return error_of("the guest cannot be switched off");
    }
    state = loaded;
    return {};
  }
  // For reading as well, or it could not be opened before QEMU reads.
  int pipe = ::open(pipe_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (pipe < 0) {
    return error_of("the pipe for the state cannot be opened");
  }
  Result<void> read;
  std::array<std::byte, 65536> memory;
  std::span<const std::byte> piece;
  std::uint64_t at = 0;
  const auto give_piece = [&] {
    if (piece.empty() && at < source->size()) {
      const std::size_t size = std::min<std::uint64_t>(memory.size(), source->size() - at);
      read = source->read(at, std::span(memory).first(size));
      piece = std::span(memory).first(read ? size : 0);
      at += size;
    }
    const ssize_t count = piece.empty() ? 0 : ::write(pipe, piece.data(), piece.size());
    piece = piece.subspan(count > 0 ? static_cast<std::size_t>(count) : 0);
    if (!piece.empty() || (read && at < source->size())) {
      return true;
    }
    // QEMU waits for the end, and reads already: a pipe has not room for a whole state.
    ::close(std::exchange(pipe, -1));
    return false;
  };
  const Result<void> asked = ask(request + " " + pipe_, pipe, POLLOUT, give_piece);
  if (pipe >= 0) {
    ::close(pipe);
  }
  if (asked && read) {
    state = loaded;
  }
  return asked ? read : asked;
}

bool Machine::ask(const std::string& request) noexcept {
  return ask(request, -1, 0, [] { return false; }).has_value();
}

Result<void> Machine::ask(const std::string& request, int pipe, short events,
                          const std::function<bool()>& work) noexcept {
  loop_->say("? " + request);
  pollfd ready = {pipe, events, 0};
  std::string answer;
  while (true) {
    if (answer.empty()) {
      loop_->take_line(answer);
    }
    if (!answer.empty() && (ready.fd < 0 || answer != "done")) {
      break;
    }
    ready.revents = 0;
    loop_->turn(-1, &ready);
    if (ready.revents != 0 && !work()) {
      ready.fd = -1;
    }
  }
  return answer == "done" ? Result<void>() : error_of("the driver could not do it");
}

}  // namespace varve::test
