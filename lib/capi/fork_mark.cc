#include "capi/fork_mark.h"

#include <memory>

#include <sys/mman.h>

namespace varve::capi {
namespace {

constexpr std::size_t kPageBytes = 4096;  // The kernel rounds up where pages are larger.

}  // namespace

ForkMark::ForkMark() noexcept {
  void* page =
      ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    return;
  }
  if (::madvise(page, kPageBytes, MADV_WIPEONFORK) != 0) {
    ::munmap(page, kPageBytes);
    return;
  }
  mark_ = std::construct_at(static_cast<std::atomic<unsigned>*>(page), 1U);
}

ForkMark::~ForkMark() {
  if (mark_ != nullptr) {
    ::munmap(mark_, kPageBytes);
  }
}

}  // namespace varve::capi
