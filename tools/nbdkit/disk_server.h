// DiskServer: an image on a thread of its own, and a way for nbdkit's threads to use it.
//
// nbdkit calls the plugin from many threads, an image belongs to one. So the disk's thread makes
// engine and image and runs the loop; the others send it errands through the engine's mailbox and
// sleep until theirs is done. All connections see one image: what one has written the others read,
// and a flush on any of them makes durable what was completed on all.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <varve/engine.h>
#include <varve/image.h>

#include "control_server.h"

namespace varve::nbd {

struct ServerOptions {
  std::string path;
  std::string snapshot;                            // Its name, id or UUID; empty: the disk itself.
  bool writable = true;                            // Never with a snapshot.
  std::string control;                             // The control socket's path; empty: none.
  const std::atomic<unsigned>* clients = nullptr;  // How many there are, for its status.
  // How long the image's lock is waited for. The kernel takes back a killed process's locks only
  // when its ring is gone, a moment later; who is started in its place must not fail for that.
  unsigned lock_timeout_seconds = 3;
  EngineOptions engine;
  OpenOptions open;
};

// A failure with what it happened to: "disk.qcow2: cannot be opened: ...".
struct Failure {
  std::string text;
  Error error;
};

class DiskServer {
 public:
  DiskServer() = default;
  // REQUIRES: no errand under way. As stop(), without a word about errors.
  ~DiskServer();
  DiskServer(const DiskServer&) = delete;
  DiskServer& operator=(const DiskServer&) = delete;

  // Opens the image. False, and `failure` is set: it is not served.
  bool start(const ServerOptions& options, Failure& failure);
  // Closes it: everything is flushed. False, and `failure` is set: something was not.
  bool stop(Failure& failure);

  // --- From any thread, while it is started; each returns when it is done.

  // `request` needs nothing but operation, range and vectors. Errors: as BlockRequest.
  Result<void> carry_out(BlockRequest& request);
  // Runs `work` on the disk's thread, where it may block. It must not throw.
  void call(const std::function<void(Image& disk)>& work);

 private:
  struct Errand;

  bool open(const ServerOptions& options, Failure& failure);
  bool close(Failure& failure);
  void serve();
  void wait_for_something();
  void send(Errand& errand);
  void finish(Errand& errand);

  // Of the disk's thread.
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Image> image_;
  std::unique_ptr<Image> snapshot_;
  Image* disk_ = nullptr;  // What is served: one of the two.
  std::unique_ptr<ControlServer> control_;
  std::vector<Errand*> calls_;
  bool is_leaving_ = false;

  std::mutex mutex_;  // Guards `is_done` of every errand.
  std::thread thread_;
};

}  // namespace varve::nbd
