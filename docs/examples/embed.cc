// A hypervisor's disk in C++: guest I/O from an event loop, and a snapshot that stops the guest for
// microseconds while the rest happens behind its I/O.
#include <cstdio>
#include <string>
#include <vector>

#include <poll.h>
#include <varve/create.h>
#include <varve/engine.h>
#include <varve/image.h>
#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>

namespace {

// One request of the guest. The library owns nothing of it: it lives until `complete` has run.
struct GuestWrite : varve::BlockRequest {
  explicit GuestWrite(std::size_t bytes) : memory(bytes), piece{memory.data(), memory.size()} {
    operation = varve::BlockOperation::write;
    length = memory.size();
    vectors = &piece;
    vector_count = 1;
    complete = [](varve::BlockRequest& request, const varve::Result<void>& result) {
      auto& self = static_cast<GuestWrite&>(request);
      self.is_done = true;
      self.has_failed = !result.has_value();
    };
  }
  std::vector<std::byte> memory;
  varve::IoVector piece;
  bool is_done = false;
  bool has_failed = false;
};

int fail(const char* what, const varve::Error& error) {
  std::fprintf(stderr, "%s: %s\n", what, varve::describe(error).c_str());
  return 1;
}

// One turn of the hypervisor's own loop: sleep until something is there, then run it.
void turn(varve::Engine& engine) {
  engine.submit_pending();
  pollfd ready = {engine.event_fd(), POLLIN, 0};
  ::poll(&ready, 1, -1);
  engine.poll();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "disk.qcow2";

  // The thread that makes the engine is the only one that uses it and its images.
  auto engine = varve::Engine::create();
  if (!engine) {
    return fail("engine", engine.error());
  }
  varve::CreateOptions create;
  create.size_bytes = 1u << 30;
  if (auto created = varve::create_image(**engine, path, create); !created) {
    return fail("create", created.error());
  }
  varve::OpenOptions options;
  options.writable = true;
  auto image = varve::Image::open(**engine, path, options);
  if (!image) {
    return fail("open", image.error());
  }

  // The guest writes. Submit as many as you like; each completes inside poll().
  GuestWrite first(65536);
  (*image)->submit(first);
  while (!first.is_done) {
    turn(**engine);
  }

  // A snapshot, in steps: everything that takes time happens while the guest runs.
  varve::SnapshotCreateOptions snapshot;
  snapshot.name = "before the update";
  varve::OperationOptions stepwise;
  stepwise.stepwise = true;
  auto operation = varve::start_create(**image, snapshot, stepwise);
  if (!operation) {
    return fail("snapshot", operation.error());
  }
  while ((*operation)->progress().phase < varve::SnapshotPhase::ready) {
    turn(**engine);
  }
  // Stop the guest's processors here. The freeze itself does no I/O and waits for nothing.
  if (auto frozen = (*operation)->freeze(); !frozen) {
    return fail("freeze", frozen.error());
  }
  // Let the guest go on here.
  GuestWrite second(65536);
  (*image)->submit(second);
  if (auto published = (*operation)->publish(); !published) {
    return fail("publish", published.error());
  }
  while (!(*operation)->is_done() || !second.is_done) {
    turn(**engine);
  }
  if (!(*operation)->result() || first.has_failed || second.has_failed) {
    std::fprintf(stderr, "something failed\n");
    return 1;
  }
  std::printf("snapshot %s, the guest stood still for %llu ns\n", (*operation)->id().c_str(),
              static_cast<unsigned long long>((*operation)->times().pause_nanoseconds));

  // The disk as it was then.
  if (auto applied = varve::apply_snapshot(**image, 0); !applied) {
    return fail("apply", applied.error());
  }
  // An operation ends before its image, an image before its engine.
  operation->reset();
  if (auto closed = (*image)->close(); !closed) {
    return fail("close", closed.error());
  }
  return 0;
}
