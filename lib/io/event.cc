#include "io/event.h"

#include <cerrno>
#include <cstdint>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/failure.h"

namespace varve {

Result<Event> Event::create() noexcept {
  Event event;
  event.descriptor_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event.descriptor_ < 0) {
    return system_failure(errno, IoTag::none, Error::kNoOffset, "cannot make an event descriptor");
  }
  return Result<Event>(std::move(event));
}

Event::~Event() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

void Event::signal() const noexcept {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the event is signalled already.
  [[maybe_unused]] const ssize_t written = ::write(descriptor_, &one, sizeof(one));
}

void Event::reset() const noexcept {
  std::uint64_t count = 0;
  // Fails only when there was nothing to take back.
  [[maybe_unused]] const ssize_t read = ::read(descriptor_, &count, sizeof(count));
}

void Event::wait(int timeout_milliseconds) const noexcept {
  pollfd entry = {descriptor_, POLLIN, 0};
  ::poll(&entry, 1, timeout_milliseconds);
}

}  // namespace varve
