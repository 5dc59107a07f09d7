// One piece of work on the images of some systems: what a method does after its checks.
//
// Threads: perform() runs on the work thread without a lock; the rest is set before.
#pragma once

#include <optional>
#include <vector>

#include "service/jobs.h"
#include "service/open_disks.h"

namespace varve {

class Work {
 public:
  explicit Work(std::vector<System*> systems) noexcept : systems_(std::move(systems)) {}
  virtual ~Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  // The images are open. On error everything is as before, as far as the images let it.
  virtual Result<void> perform(OpenDisks& disks, WorkControl& control) = 0;
  // After perform(), with the mutex, where there is no memory to ask the images: changes the
  // system's tree by what was done. The tree has room for one more snapshot.
  virtual void amend(System& system) noexcept = 0;

  // In use from the checks to the end; in the order of their GUIDs.
  [[nodiscard]] const std::vector<System*>& systems() const noexcept { return systems_; }
  [[nodiscard]] const std::optional<CreatedElement>& created() const noexcept { return created_; }

 protected:
  std::optional<CreatedElement> created_;

 private:
  std::vector<System*> systems_;
};

}  // namespace varve
