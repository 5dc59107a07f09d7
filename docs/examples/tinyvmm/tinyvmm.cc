// tinyvmm: a small hypervisor whose guest lives on a Varve disk. Takes a full snapshot of the
// running guest, lets it go on, and brings it back: RAM, processor and disk.
//
//   guest.S    what runs inside, and guest.h, what it agreed on with its machine
//   machine.h  a processor and RAM, on /dev/kvm
//   here       the machine and its disk on one event loop; snapshot and revert; the story
//
// Usage: tinyvmm [IMAGE]      (the image is made anew)
#include <chrono>
#include <ctime>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <poll.h>
#include <varve/create.h>
#include <varve/engine.h>
#include <varve/image.h>
#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>
#include <varve/state.h>

#include "guest.h"
#include "machine.h"
#include "must.h"

namespace tinyvmm {
namespace {

using Clock = std::chrono::steady_clock;

std::span<std::byte> bytes_of(auto& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// The thread that makes the engine is the only one that uses it and its images.
std::unique_ptr<varve::Image> make_image(varve::Engine& engine, const std::string& path) {
  varve::CreateOptions create;
  create.size_bytes = 64u << 20;
  must(varve::create_image(engine, path, create), "creating the image");
  varve::OpenOptions options;
  options.writable = true;
  return must(varve::Image::open(engine, path, options), "opening the image");
}

// A piece of the machine's state on its way into the image.
struct StatePiece : varve::StateRequest {
  StatePiece(std::uint64_t at, std::span<const std::byte> bytes) {
    offset = at;
    source = bytes;
    complete = [](varve::StateRequest& request, const varve::Result<void>& result) {
      must(result, "saving the state");
      static_cast<StatePiece&>(request).is_done = true;
    };
  }
  bool is_done = false;
};

struct Snapshot {
  std::string id;
  std::uint32_t counter = 0;       // The guest's, at that instant.
  double pause_microseconds = 0;   // How long the guest stood still ...
  double freeze_microseconds = 0;  // ... and how much of that its disk took.
};

class Hypervisor {
 public:
  explicit Hypervisor(const std::string& path)
      : engine_(must(varve::Engine::create(), "the engine")), image_(make_image(*engine_, path)) {
    request_.owner = this;
    request_.complete = [](varve::BlockRequest& request, const varve::Result<void>& result) {
      static_cast<Hypervisor*>(request.owner)->answer(result.has_value());
    };
    until([this] { return machine_.state() == Machine::State::stopped; });
  }

  // Lets the guest run until it has counted to `goal`, and stops it.
  void run_until(std::uint32_t goal) {
    machine_.go_on();
    until([&] { return counter() >= goal; });
    stop_guest();
  }

  // RAM, processor and disk at one instant, kept in the image. The guest goes on meanwhile, but for
  // the pause; in the end it stands.
  Snapshot take_snapshot(const std::string& name) {
    machine_.go_on();

    // What takes time on the disk's side happens while the guest runs.
    const auto state = must(varve::StateWriter::create(*image_), "the state writer");
    varve::SnapshotCreateOptions options;
    options.name = name;
    options.date_seconds = static_cast<std::uint32_t>(std::time(nullptr));
    options.state = state.get();
    varve::OperationOptions stepwise;
    stepwise.stepwise = true;
    const auto operation = must(varve::start_create(*image_, options, stepwise), "the snapshot");
    until([&] { return operation->progress().phase >= varve::SnapshotPhase::ready; });

    // The pause. The disk is fixed in memory by freeze(), the machine by a copy. Where RAM is too
    // large for that, write-protect it and save each page before the guest changes it.
    Snapshot snapshot;
    const Clock::time_point paused = Clock::now();
    stop_guest();
    must(operation->freeze(), "freeze");
    Registers registers = machine_.registers();
    const std::vector<std::byte> ram(machine_.ram().begin(), machine_.ram().end());
    snapshot.counter = counter();
    machine_.go_on();
    snapshot.pause_microseconds = microseconds_since(paused);

    // The guest runs again: everything else is written behind its I/O.
    StatePiece first(0, bytes_of(registers));
    StatePiece second(sizeof(registers), ram);
    state->submit(first);
    state->submit(second);
    until([&] { return first.is_done && second.is_done; });
    must(state->finish(), "saving the state");
    must(operation->publish(), "publish");
    until([&] { return operation->is_done(); });
    must(operation->result(), "the snapshot");
    stop_guest();
    snapshot.id = operation->id();
    snapshot.freeze_microseconds = static_cast<double>(operation->times().pause_nanoseconds) / 1000;
    return snapshot;
  }

  // The guest is back at that instant, and stands. REQUIRES: it stands.
  void revert(const Snapshot& snapshot) {
    const std::size_t index = must(varve::find_snapshot(*image_, {snapshot.id}), "the snapshot");
    must(varve::apply_snapshot(*image_, index), "applying");
    // Every byte is verified against the sums that were written with it.
    const auto state = must(varve::StateReader::open(*image_, index), "the state");
    must(state->read_at(0, bytes_of(machine_.registers())), "the registers");
    must(state->read_at(sizeof(Registers), machine_.ram()), "RAM");
  }

  // What the guest has counted to, in RAM.
  [[nodiscard]] std::uint32_t counter() const {
    void* at = machine_.ram().subspan(kCounterAddress).data();
    return std::atomic_ref(*static_cast<std::uint32_t*>(at)).load();
  }

  // The numbers on the disk, at each place. REQUIRES: the guest stands.
  [[nodiscard]] std::vector<std::uint32_t> numbers() {
    std::vector<std::uint32_t> numbers(kPlaces);
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      must(image_->read(place * kSectorsApart * kSectorBytes, bytes_of(numbers[place])), "reading");
    }
    return numbers;
  }

  // REQUIRES: the guest stands. Everything is written, every error told.
  void close() { must(image_->close(), "closing"); }

 private:
  // The event loop: sleeps until the disk or the processor has something, and serves it.
  void until(auto holds) {
    while (!holds()) {
      engine_->submit_pending();
      pollfd ready[] = {{engine_->event_fd(), POLLIN, 0}, {machine_.doorbell(), POLLIN, 0}};
      ::poll(ready, std::size(ready), -1);
      engine_->poll();
      if (ready[1].revents != 0) {
        machine_.quiet_doorbell();
        if (machine_.state() == Machine::State::asking) {
          carry_out();
        }
      }
    }
  }

  // A request under way is finished first: it is the loop that finishes it.
  void stop_guest() {
    machine_.stop();
    until([this] { return machine_.state() == Machine::State::stopped; });
  }

  // The guest has written to a port. Its request goes straight between its RAM and the image.
  void carry_out() {
    if (machine_.port() != kDiskPort) {
      fail("the guest", "a sector does not hold what was written to it");
    }
    // Copied, checked, then used: a guest may be anybody's. The image checks the sector itself.
    DiskCommand command;
    std::ranges::copy(machine_.ram().subspan(kCommandAddress, sizeof(command)),
                      bytes_of(command).begin());
    if (command.operation > 2 || command.buffer + kSectorBytes > kRamBytes) {
      return answer(false);
    }
    using varve::BlockOperation;
    constexpr BlockOperation kOperations[] = {BlockOperation::read, BlockOperation::write,
                                              BlockOperation::flush};
    request_.operation = kOperations[command.operation];
    const bool has_data = request_.operation != BlockOperation::flush;
    piece_ = {machine_.ram().data() + command.buffer, kSectorBytes};
    request_.vectors = &piece_;
    request_.vector_count = has_data ? 1 : 0;
    request_.length = has_data ? kSectorBytes : 0;
    request_.offset = has_data ? command.sector * kSectorBytes : 0;
    image_->submit(request_);
  }

  void answer(bool worked) {
    machine_.ram()[kCommandAddress + offsetof(DiskCommand, status)] = std::byte{!worked};
    machine_.go_on();
  }

  // An image lives on its engine, a request in its image: what is made first goes last.
  std::unique_ptr<varve::Engine> engine_;
  std::unique_ptr<varve::Image> image_;
  varve::BlockRequest request_;  // The guest's, one at a time.
  varve::IoVector piece_;
  Machine machine_{{guest_program, guest_program_end}};
};

// Shows a guest that stands still, and checks that its RAM and its disk are of one moment: each
// place holds the last number that went there; only the newest may still be on its way.
void show(const char* when, Hypervisor& hypervisor) {
  const std::uint32_t counter = hypervisor.counter();
  const std::vector<std::uint32_t> numbers = hypervisor.numbers();
  std::printf("%-12s RAM counts %u, the disk holds %u to %u\n", when, counter,
              *std::ranges::min_element(numbers), *std::ranges::max_element(numbers));
  for (std::uint32_t age = 0; age < kPlaces; ++age) {
    const std::uint32_t number = numbers[(counter - age) % kPlaces];
    if (number != counter - age && !(age == 0 && number == counter - kPlaces)) {
      fail("RAM and disk disagree", std::to_string(number).c_str());
    }
  }
}

void tell_story(const std::string& path) {
  Hypervisor hypervisor(path);
  hypervisor.run_until(1000);
  show("running", hypervisor);

  const Snapshot snapshot = hypervisor.take_snapshot("in the middle");
  std::printf(
      "snapshot     at %u; the guest stood still for %.0f us, %.1f us of them for its disk\n",
      snapshot.counter, snapshot.pause_microseconds, snapshot.freeze_microseconds);
  hypervisor.run_until(snapshot.counter + 1000);
  show("further on", hypervisor);

  const Clock::time_point start = Clock::now();
  hypervisor.revert(snapshot);
  std::printf("reverted     in %.0f us\n", microseconds_since(start));
  show("back", hypervisor);
  if (hypervisor.counter() != snapshot.counter) {
    fail("RAM", "is not that of the snapshot");
  }

  // The guest does not know. It counts on, and finds every sector as it had left it.
  hypervisor.run_until(snapshot.counter + 500);
  show("and on again", hypervisor);
  hypervisor.close();
}

}  // namespace
}  // namespace tinyvmm

int main(int argc, char** argv) {
  tinyvmm::tell_story(argc > 1 ? argv[1] : "tinyvmm.qcow2");
  return 0;
}
