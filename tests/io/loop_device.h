// A block device for tests, with sectors of a chosen size.
#pragma once

#include <cstdint>
#include <string>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace varve::testing {

// A loop device over a file, where there are any and we may make one.
class LoopDevice {
 public:
  LoopDevice() = default;
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice() {
    if (device_ >= 0) {
      ::ioctl(device_, LOOP_CLR_FD, 0);
      ::close(device_);
    }
  }
  [[nodiscard]] bool attach(const std::string& file, std::uint64_t size, unsigned sector) {
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) {
      return false;
    }
    const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
    ::close(control);
    const int backing = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    path_ = "/dev/loop" + std::to_string(number);
    device_ = number < 0 ? -1 : ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    loop_config config = {};
    config.fd = static_cast<__u32>(backing);
    config.block_size = sector;
    const bool made = backing >= 0 && device_ >= 0 &&
                      ::ftruncate(backing, static_cast<off_t>(size)) == 0 &&
                      ::ioctl(device_, LOOP_CONFIGURE, &config) == 0;
    ::close(backing);
    if (!made && device_ >= 0) {
      ::close(device_);
      device_ = -1;
    }
    return made;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  int device_ = -1;
  std::string path_;
};

}  // namespace varve::testing
