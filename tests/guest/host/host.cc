// A hypervisor's process for tests: it embeds the library and the snapshot services, serves its
// guests' disks to QEMU over NBD, and is driven in lines of text.
//
// Why a program of its own, and not the nbdkit plugin: the services need every image of a machine,
// and of a collection of machines, on one thread of one process, and the hypervisor's callbacks
// beside them; an nbdkit has one image, and its control socket has none of the facade's methods. So
// this is what an embedder writes: one thread, one engine, one loop that serves disks, the driver
// and the services' work, also while that work waits (Executor::turn, Machine::ask).
//
// The driver's lines, each answered by "= ..." (references have no spaces):
//   system NAME PIPE DISK...     defines a machine, its disks served at DISK.nbd; its path
//   collection NAME SYSTEM...    defines a collection of machines; its path
//   running NAME | off NAME      tells the machine's state
//   create|apply|destroy REFERENCE, create-collection|apply-collection|destroy-collection REFERENCE
//                                the methods (create: REFERENCE TYPE); return code, and job or "-"
//   job REFERENCE                JobState, ErrorCode, the affected element or "-", what failed
// and what the host says by itself:
//   ! worked                     the work that was posted is done
//   ? quiesce|resume NAME, ? save NAME PIPE, ? load NAME running PIPE, ? load NAME off
//                                a callback of the state provider; the answer is "done" or "failed"
#include <cerrno>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <varve/engine.h>
#include <varve/service.h>

#include "guest/host/machine.h"

namespace varve::test {
namespace {

constexpr int kInput = 0;
constexpr int kOutput = 1;

class Host final : public Executor, public Loop {
 public:
  Result<void> start() {
    Result<std::unique_ptr<Engine>> engine = Engine::create();
    if (!engine) {
      return engine.error();
    }
    engine_ = std::move(*engine);
    ServiceOptions options;
    options.executor = this;
    options.engine = engine_.get();
    Result<std::unique_ptr<SnapshotServices>> services = SnapshotServices::create(options);
    if (!services) {
      return services.error();
    }
    services_ = std::move(*services);
    return {};
  }

  // Until the driver closes its end.
  Result<void> run() {
    ::fcntl(kInput, F_SETFL, O_NONBLOCK);
    while (!is_ended_) {
      turn(-1, nullptr);
      std::string line;
      while (take_line(line)) {
        obey(line);
      }
      while (!works_.empty()) {
        const std::function<void()> work = std::move(works_.front());
        works_.pop_front();
        work();
        say("! worked");
      }
    }
    services_.reset();
    Result<void> closed;
    for (const auto& [name, machine] : machines_) {
      const Result<void> result = machine->close();
      closed = closed ? result : closed;
    }
    return closed;
  }

  // --- Executor
  void post(std::function<void()> work) override { works_.push_back(std::move(work)); }
  // Guests are served while the services' work waits.
  void turn(Engine&, int timeout_milliseconds) noexcept override {
    turn(timeout_milliseconds, nullptr);
  }

  // --- Loop
  void turn(int timeout_milliseconds, pollfd* more) noexcept override {
    engine_->submit_pending();
    std::vector<pollfd> ready = {{engine_->event_fd(), POLLIN, 0},
                                 {is_ended_ ? -1 : kInput, POLLIN, 0},
                                 more == nullptr ? pollfd{-1, 0, 0} : *more};
    std::vector<NbdExport*> exports;
    for (const auto& [name, machine] : machines_) {
      for (const std::unique_ptr<NbdExport>& one : machine->exports()) {
        exports.push_back(one.get());
        ready.push_back(one->descriptor());
      }
    }
    ::poll(ready.data(), ready.size(), lines_.empty() ? timeout_milliseconds : 0);
    engine_->poll();
    if (ready[1].revents != 0) {
      read_input();
    }
    if (more != nullptr) {
      more->revents = ready[2].revents;
    }
    for (std::size_t i = 0; i < exports.size(); ++i) {
      exports[i]->serve(ready[3 + i]);
    }
  }
  void say(std::string_view line) noexcept override {
    std::string text(line);
    text += '\n';
    for (std::size_t at = 0; at < text.size();) {
      const ssize_t count = ::write(kOutput, text.data() + at, text.size() - at);
      if (count <= 0) {
        is_ended_ = true;
        return;
      }
      at += static_cast<std::size_t>(count);
    }
  }
  bool take_line(std::string& line) noexcept override {
    if (lines_.empty()) {
      // A driver that has gone answers nothing any more.
      line = is_ended_ ? "failed" : "";
      return false;
    }
    line = std::move(lines_.front());
    lines_.pop_front();
    return true;
  }

 private:
  void read_input() {
    char piece[4096];
    const ssize_t count = ::read(kInput, piece, sizeof(piece));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
      is_ended_ = true;
      return;
    }
    input_.append(piece, count > 0 ? static_cast<std::size_t>(count) : 0);
    for (std::size_t end = 0; (end = input_.find('\n')) != std::string::npos;) {
      lines_.push_back(input_.substr(0, end));
      input_.erase(0, end + 1);
    }
  }

  void answer(const std::string& text) { say("= " + text); }
  void answer(const Result<std::string>& path) {
    answer(path ? *path : "failed: " + describe(path.error()));
  }

  void obey(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    std::string first;
    words >> verb >> first;
    std::vector<std::string> rest;
    for (std::string word; words >> word;) {
      rest.push_back(word);
    }
    if (verb == "system") {
      answer(define_machine(first, rest));
    } else if (verb == "collection") {
      answer(define_collection(first, rest));
    } else if (verb == "running" || verb == "off") {
      machines_.at(first)->state = verb == "off" ? EnabledState::off : EnabledState::running;
      answer("");
    } else if (verb == "job") {
      answer(job(first));
    } else {
      answer(call(verb, first, rest));
    }
  }

  Result<std::string> define_machine(const std::string& name, std::vector<std::string> words) {
    auto machine = std::make_unique<Machine>(*this, name, words.front());
    for (std::size_t i = 1; i < words.size(); ++i) {
      const Result<void> added = machine->add_disk(*engine_, words[i]);
      if (!added) {
        return added.error();
      }
    }
    Machine& added = *machine;
    machines_[name] = std::move(machine);
    return services_->define_system(added.definition());
  }

  Result<std::string> define_collection(const std::string& name,
                                        const std::vector<std::string>& members) {
    const Result<std::string> path = services_->define_collection(Uuid::make_random(), name);
    for (const std::string& member : members) {
      const Result<void> added = services_->add_member(*path, member);
      if (!added) {
        return added.error();
      }
    }
    return path;
  }

  std::string call(const std::string& method, const std::string& reference,
                   const std::vector<std::string>& rest) {
    VirtualSystemSnapshotService& systems = services_->virtual_system();
    CollectionSnapshotService& collections = services_->collection();
    const auto type = static_cast<std::uint16_t>(rest.empty() ? 0 : std::stoul(rest.front()));
    std::string made;
    std::string job;
    std::uint32_t code = 0;
    if (method == "create") {
      code = systems.create_snapshot(reference, "", type, made, job);
    } else if (method == "create-collection") {
      code = collections.create_snapshot(reference, "", type, made, job);
    } else if (method == "apply") {
      code = systems.apply_snapshot(reference, job);
    } else if (method == "apply-collection") {
      code = collections.apply_snapshot(reference, job);
    } else if (method == "destroy") {
      code = systems.destroy_snapshot(reference, job);
    } else if (method == "destroy-collection") {
      code = collections.destroy_snapshot(reference, job);
    } else {
      return "failed: there is no command " + method;
    }
    return std::to_string(code) + " " + (job.empty() ? "-" : job);
  }

  std::string job(const std::string& reference) {
    const Result<JobDescription> found = services_->job(reference);
    const Result<std::vector<AffectedElement>> made = services_->affected_elements(reference);
    if (!found || !made) {
      return "failed: there is no such job";
    }
    return std::to_string(static_cast<unsigned>(found->job_state)) + " " +
           std::to_string(found->error_code) + " " + (made->empty() ? "-" : made->front().path) +
           " " + found->error_description;
  }

  std::unique_ptr<Engine> engine_;
  std::map<std::string, std::unique_ptr<Machine>> machines_;
  std::unique_ptr<SnapshotServices> services_;
  std::deque<std::function<void()>> works_;
  std::string input_;
  std::deque<std::string> lines_;
  bool is_ended_ = false;
};

}  // namespace
}  // namespace varve::test

int main() {
  varve::test::Host host;
  for (const auto step : {&varve::test::Host::start, &varve::test::Host::run}) {
    const varve::Result<void> result = (host.*step)();
    if (!result) {
      std::fprintf(stderr, "%s\n", varve::describe(result.error()).c_str());
      return 1;
    }
  }
  return 0;
}
