// A block device for tests, with sectors of a chosen size.
#pragma once

#include <cstdint>
#include <string>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace varve::test {

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
    const int backing = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool made = false;
    if (control >= 0 && backing >= 0 && ::ftruncate(backing, static_cast<off_t>(size)) == 0) {
      // Tests run side by side: another may take the free device first.
      constexpr int kAttempts = 100;
      for (int i = 0; i < kAttempts && !made; ++i) {
        made = take(::ioctl(control, LOOP_CTL_GET_FREE), backing, sector);
      }
    }
    ::close(control);
    ::close(backing);
    return made;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  bool take(int number, int backing, unsigned sector) {
    path_ = "/dev/loop" + std::to_string(number);
    device_ = number < 0 ? -1 : ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    loop_config config = {};
    config.fd = static_cast<__u32>(backing);
    config.block_size = sector;
    if (device_ >= 0 && ::ioctl(device_, LOOP_CONFIGURE, &config) == 0) {
      return true;
    }
    ::close(device_);
    device_ = -1;
    return false;
  }

  int device_ = -1;
  std::string path_;
};

}  // namespace varve::test
