// Machine: one guest of the host. The machine is QEMU's, started and spoken to by whoever drives
// the host; here are its disks, served to it, and its side of a snapshot.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <varve/image.h>
#include <varve/service.h>

#include "guest/host/nbd_export.h"

namespace varve::test {

// The loop of the host, as its machines use it.
class Loop {
 public:
  virtual ~Loop() = default;
  // Serves everything until something happened; `more` is waited for, too.
  virtual void turn(int timeout_milliseconds, pollfd* more) noexcept = 0;
  // Says a line to the driver.
  virtual void say(std::string_view line) noexcept = 0;
  // The driver's next line, if there is one by now.
  virtual bool take_line(std::string& line) noexcept = 0;
};

class Machine final : public StateProvider {
 public:
  // `pipe`: the path of a FIFO, through which QEMU's stream of its state goes.
  Machine(Loop& loop, std::string name, std::string pipe)
      : loop_(&loop), name_(std::move(name)), pipe_(std::move(pipe)) {}

  // Opens a disk and serves it at `path`.nbd.
  Result<void> add_disk(Engine& engine, const std::string& path);
  [[nodiscard]] SystemDefinition definition();
  Result<void> close();
  [[nodiscard]] std::span<const std::unique_ptr<NbdExport>> exports() const noexcept {
    return exports_;
  }

  Result<void> quiesce(ConsistencyLevel level, unsigned timeout_milliseconds) noexcept override;
  void resume() noexcept override;
  Result<void> save(StateSink& sink) noexcept override;
  Result<void> load(StateSource* source, EnabledState state) noexcept override;

  EnabledState state = EnabledState::off;

 private:
  // Both serve the disks meanwhile: QEMU ends and begins with reads, writes and flushes.
  // False: the driver could not do it.
  bool ask(const std::string& request) noexcept;
  // `work` runs when the pipe is ready for `events`; false: it needs the pipe no longer. Ends when
  // the driver has answered as well.
  Result<void> ask(const std::string& request, int pipe, short events,
                   const std::function<bool()>& work) noexcept;

  Loop* loop_;
  std::string name_;
  std::string pipe_;
  std::vector<std::unique_ptr<Image>> images_;
  std::vector<std::unique_ptr<NbdExport>> exports_;
};

}  // namespace varve::test
