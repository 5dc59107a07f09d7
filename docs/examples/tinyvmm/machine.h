// Machine: one processor in real mode and a megabyte of RAM, on /dev/kvm.
//
// The processor has a thread of its own. The public part is for the thread that made the machine,
// the disk's: the processor hands itself over to it (to have a request carried out, or because it
// was told to stop) and rings the doorbell, a descriptor for that thread's event loop.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"
#include "must.h"

namespace tinyvmm {

// What the processor is apart from RAM. A guest that uses more has more: floating point, model
// specific registers, interrupt controllers, clocks; each is one more structure of KVM's.
struct Registers {
  kvm_regs general;
  kvm_sregs special;
};

class Machine {
 public:
  enum class State : std::uint8_t {
    running,
    asking,   // The guest has written to a port, and waits for go_on().
    stopped,  // As stop() wanted: registers() may be read and written.
  };

  // The guest will begin with the first byte of `program`. The processor comes to a first stop.
  explicit Machine(std::span<const std::byte> program) {
    kvm_userspace_memory_region region = {};
    region.memory_size = ram_.size();
    region.userspace_addr = std::bit_cast<std::uint64_t>(ram_.data());
    must(::ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    std::ranges::copy(program, ram_.begin() + kProgramAddress);

    // A processor after reset, but with all segments at 0, at the program's first instruction.
    load_registers();
    registers_.special.cs.base = 0;
    registers_.special.cs.selector = 0;
    registers_.general.rip = kProgramAddress;
    registers_.general.rsp = kStackAddress;

    // The signal that calls a processor out of the guest needs a handler, and nothing in it.
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    must(::sigaction(SIGUSR1, &action, nullptr), "sigaction");
    thread_ = std::thread([this] { run_processor(); });
  }

  ~Machine() {
    {
      const std::lock_guard lock(mutex_);
      is_leaving_ = true;
    }
    may_go_on_.notify_one();
    stop();
    thread_.join();
    ::munmap(run_, static_cast<std::size_t>(run_bytes_));
    ::munmap(ram_.data(), ram_.size());
    for (const int fd : {doorbell_, vcpu_, vm_, kvm_}) {
      ::close(fd);
    }
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  [[nodiscard]] std::span<std::byte> ram() const noexcept { return ram_; }
  [[nodiscard]] Registers& registers() noexcept { return registers_; }

  // Readable when the processor has handed itself over.
  [[nodiscard]] int doorbell() const noexcept { return doorbell_; }
  void quiet_doorbell() const {
    eventfd_t rings = 0;
    ::eventfd_read(doorbell_, &rings);
  }

  [[nodiscard]] State state() {
    const std::lock_guard lock(mutex_);
    return state_;
  }
  // The port the guest has written to. REQUIRES: asking.
  [[nodiscard]] std::uint16_t port() const { return run_->io.port; }

  // Tells the processor to stop at once; it has when state() says so. What it asks for before that
  // is to be carried out as ever: no snapshot has half a request. The signal gets it out of the
  // guest; the flag is for one that is on its way in and would be there after the signal.
  void stop() {
    immediate_exit() = 1;
    ::pthread_kill(thread_.native_handle(), SIGUSR1);
  }

  // REQUIRES: asking or stopped.
  void go_on() {
    {
      const std::lock_guard lock(mutex_);
      if (state_ == State::stopped) {
        immediate_exit() = 0;
      }
      state_ = State::running;
    }
    may_go_on_.notify_one();
  }

 private:
  // --- the processor's thread

  void run_processor() {
    while (hand_over(State::stopped)) {
      must(::ioctl(vcpu_, KVM_SET_SREGS, &registers_.special), "KVM_SET_SREGS");
      must(::ioctl(vcpu_, KVM_SET_REGS, &registers_.general), "KVM_SET_REGS");
      run_guest();
      load_registers();
    }
  }

  // Until the machine is to stop. An instruction that left the guest is finished when KVM runs the
  // processor again, immediate_exit or not: so one that stopped stands between two instructions.
  void run_guest() {
    bool is_alive = true;
    while (is_alive) {
      if (::ioctl(vcpu_, KVM_RUN, 0) < 0) {
        must(errno == EINTR ? 0 : -1, "KVM_RUN");
        is_alive = immediate_exit() == 0;  // Otherwise the signal was somebody else's.
      } else if (run_->exit_reason == KVM_EXIT_IO) {
        is_alive = hand_over(State::asking);
      } else {
        fail("the guest has crashed", std::to_string(run_->exit_reason).c_str());
      }
    }
  }

  // Waits until the disk's thread lets it go on. False: the machine is being destroyed.
  bool hand_over(State state) {
    std::unique_lock lock(mutex_);
    state_ = state;
    must(::eventfd_write(doorbell_, 1), "eventfd");
    may_go_on_.wait(lock, [this] { return state_ == State::running || is_leaving_; });
    return !is_leaving_;
  }

  void load_registers() {
    must(::ioctl(vcpu_, KVM_GET_REGS, &registers_.general), "KVM_GET_REGS");
    must(::ioctl(vcpu_, KVM_GET_SREGS, &registers_.special), "KVM_GET_SREGS");
  }

  // While it is set, KVM lets the processor into the guest for no instruction at all.
  [[nodiscard]] std::atomic_ref<std::uint8_t> immediate_exit() const {
    return std::atomic_ref<std::uint8_t>(run_->immediate_exit);
  }

  static void* map(std::size_t size, int flags, int fd) {
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    must(memory == MAP_FAILED ? -1 : 0, "mmap");
    return memory;
  }

  const int kvm_ = must(::open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
  const int vm_ = must(::ioctl(kvm_, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
  const int vcpu_ = must(::ioctl(vm_, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
  const int doorbell_ = must(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
  const std::span<std::byte> ram_{
      static_cast<std::byte*>(map(kRamBytes, MAP_PRIVATE | MAP_ANONYMOUS, -1)), kRamBytes};
  // Shared with the kernel: why the processor left the guest.
  const int run_bytes_ = must(::ioctl(kvm_, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  kvm_run* const run_ =
      static_cast<kvm_run*>(map(static_cast<std::size_t>(run_bytes_), MAP_SHARED, vcpu_));
  Registers registers_;  // Current while stopped.

  std::mutex mutex_;  // Guards the two below.
  State state_ = State::running;
  bool is_leaving_ = false;
  std::condition_variable may_go_on_;
  std::thread thread_;
};

}  // namespace tinyvmm
