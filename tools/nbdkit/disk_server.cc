#include "disk_server.h"

#include <chrono>
#include <utility>

#include <varve/snapshot.h>
#include <varve/storage.h>

namespace varve::nbd {

namespace {

Result<std::unique_ptr<Image>> open_in_time(Engine& engine, const ServerOptions& options) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::seconds(options.lock_timeout_seconds);
  OpenOptions open = options.open;
  open.writable = options.writable;
  for (;;) {
    Result<std::unique_ptr<Image>> image = Image::open(engine, options.path, open);
    if (image || image.error().code != ErrorCode::busy || Clock::now() >= end) {
      return image;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

// What a thread of nbdkit's wants done, on its stack.
struct DiskServer::Errand {
  explicit Errand(DiskServer& its_server) : server(&its_server) {}

  DiskServer* server;
  StorageRequest letter;  // Carries the errand to the disk's thread.
  std::condition_variable done;
  bool is_done = false;
  BlockRequest* request = nullptr;  // One of these three: a request,
  Result<void> result;
  const std::function<void(Image&)>* work = nullptr;  // work that may block,
  bool is_farewell = false;                           // or the end.
};

DiskServer::~DiskServer() {
  Failure ignored;
  stop(ignored);
}

bool DiskServer::start(const ServerOptions& options, Failure& failure) {
  bool is_open = false;
  bool has_answered = false;
  std::condition_variable answered;
  std::unique_lock lock(mutex_);
  thread_ = std::thread([&, this] {
    const bool opened = open(options, failure);
    {
      const std::lock_guard guard(mutex_);
      is_open = opened;
      has_answered = true;
      answered.notify_one();
    }
    if (opened) {
      serve();
    }
  });
  answered.wait(lock, [&] { return has_answered; });
  lock.unlock();
  if (!is_open) {
    thread_.join();
  }
  return is_open;
}

bool DiskServer::stop(Failure& failure) {
  if (!thread_.joinable()) {
    return true;
  }
  bool closed = false;
  call([&](Image&) { closed = close(failure); });
  Errand farewell(*this);
  farewell.is_farewell = true;
  send(farewell);
  thread_.join();
  engine_.reset();
  return closed;
}

Result<void> DiskServer::carry_out(BlockRequest& request) {
  Errand errand(*this);
  errand.request = &request;
  request.owner = &errand;
  request.complete = [](BlockRequest& completed, const Result<void>& result) {
    auto& mine = *static_cast<Errand*>(completed.owner);
    mine.result = result;
    mine.server->finish(mine);
  };
  send(errand);
  return errand.result;
}

void DiskServer::call(const std::function<void(Image&)>& work) {
  Errand errand(*this);
  errand.work = &work;
  send(errand);
}

void DiskServer::send(Errand& errand) {
  errand.letter.owner = &errand;
  // Runs on the disk's thread, inside its engine's poll: requests may be submitted there, but
  // nothing may block.
  errand.letter.complete = [](StorageRequest& letter, const Result<void>&) {
    auto& mine = *static_cast<Errand*>(letter.owner);
    if (mine.request != nullptr) {
      mine.server->disk_->submit(*mine.request);
    } else {
      mine.server->calls_.push_back(&mine);
    }
  };
  engine_->post_from_any_thread(errand.letter, {});
  std::unique_lock lock(mutex_);
  errand.done.wait(lock, [&] { return errand.is_done; });
}

// The errand is gone once the lock is: its owner wakes up.
void DiskServer::finish(Errand& errand) {
  const std::lock_guard lock(mutex_);
  errand.is_done = true;
  errand.done.notify_one();
}

// --- the disk's thread ---------------------------------------------------------------------------

bool DiskServer::open(const ServerOptions& options, Failure& failure) {
  const auto fail = [&](const char* what, const Error& error) {
    failure.text = options.path + ": " + what + ": ";
    failure.text += error.code == ErrorCode::busy ? "another program has it open" : describe(error);
    failure.error = error;
    control_.reset();
    snapshot_.reset();
    image_.reset();
    engine_.reset();
    return false;
  };
  Result<std::unique_ptr<Engine>> engine = Engine::create(options.engine);
  if (!engine) {
    return fail("cannot start the I/O engine", engine.error());
  }
  engine_ = std::move(*engine);
  Result<std::unique_ptr<Image>> image = open_in_time(*engine_, options);
  if (!image) {
    return fail(options.writable ? "cannot be opened for writing" : "cannot be opened",
                image.error());
  }
  image_ = std::move(*image);
  disk_ = image_.get();
  if (!options.snapshot.empty()) {
    const Result<std::size_t> index = find_snapshot(*image_, {.text = options.snapshot});
    if (!index) {
      return fail(("snapshot '" + options.snapshot + "'").c_str(), index.error());
    }
    Result<std::unique_ptr<Image>> snapshot = open_snapshot(*image_, *index);
    if (!snapshot) {
      return fail("the snapshot cannot be opened", snapshot.error());
    }
    snapshot_ = std::move(*snapshot);
    disk_ = snapshot_.get();
  }
  if (!options.control.empty()) {
    control_ = std::make_unique<ControlServer>(*image_, options.path, options.clients);
    const Result<void> listening = control_->listen(options.control);
    if (!listening) {
      return fail(options.control.c_str(), listening.error());
    }
  }
  return true;
}

bool DiskServer::close(Failure& failure) {
  control_.reset();
  Result<void> closed;
  for (std::unique_ptr<Image>* one : {&snapshot_, &image_}) {
    if (*one != nullptr) {
      const Result<void> result = (*one)->close();
      closed = closed ? result : closed;
      one->reset();
    }
  }
  disk_ = nullptr;
  if (!closed) {
    failure = {"closing: " + describe(closed.error()), closed.error()};
  }
  return closed.has_value();
}

// Sleeps until the engine or a control socket has something, and serves the sockets.
void DiskServer::wait_for_something() {
  if (control_ == nullptr) {
    engine_->wait();
    return;
  }
  engine_->submit_pending();
  std::vector<pollfd> ready = {{engine_->event_fd(), POLLIN, 0}};
  control_->add_descriptors(ready);
  ::poll(ready.data(), ready.size(), -1);
  engine_->poll();
  control_->serve(std::span(ready).subspan(1));
}

void DiskServer::serve() {
  while (!is_leaving_) {
    wait_for_something();
    // Work may run the engine itself, and more may come of that.
    while (!calls_.empty()) {
      Errand& errand = *calls_.front();
      calls_.erase(calls_.begin());
      if (errand.is_farewell) {
        is_leaving_ = true;
      } else {
        (*errand.work)(*disk_);
      }
      finish(errand);
    }
  }
}

}  // namespace varve::nbd
