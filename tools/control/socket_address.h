// Where a control socket is, for who listens there and who connects.
#pragma once

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string_view>

#include <sys/socket.h>
#include <sys/un.h>

namespace varve::control {

class SocketAddress {
 public:
  // False: the path is too long for a socket's name; errno says so.
  [[nodiscard]] bool set(std::string_view path) noexcept {
    address_ = {};
    address_.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address_.sun_path)) {
      errno = ENAMETOOLONG;
      return false;
    }
    std::ranges::copy(path, std::begin(address_.sun_path));
    return true;
  }
  [[nodiscard]] const char* path() const noexcept { return address_.sun_path; }

  // As the system calls of these names; false: errno says why.
  [[nodiscard]] bool connect(int fd) const noexcept {
    return ::connect(fd, generic(), sizeof(address_)) == 0;
  }
  [[nodiscard]] bool bind(int fd) const noexcept {
    return ::bind(fd, generic(), sizeof(address_)) == 0;
  }

 private:
  [[nodiscard]] const sockaddr* generic() const noexcept {
    const void* any = &address_;
    return static_cast<const sockaddr*>(any);
  }

  sockaddr_un address_ = {};
};

}  // namespace varve::control
