// ControlServer: the socket through which a running export is told to take, apply and delete
// snapshots of its image. What is said on it is control/protocol.h's.
//
// Threads: the disk's alone. Nothing here waits: sockets do not block, and snapshot work goes on
// behind guest I/O, in the engine, until its completion gives the answer. Whoever may open the
// socket may command: it belongs to the server's user, with mode 0600.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <varve/image.h>
#include <varve/snapshot_operation.h>

#include "control/protocol.h"

namespace varve::nbd {

class ControlServer {
 public:
  // The image outlives the server; `file` is its name in answers, `clients` the number of
  // connections, kept by others; may be null.
  ControlServer(Image& image, std::string file, const std::atomic<unsigned>* clients);
  // Ends the operation under way: what can be undone is. Blocking.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Makes the socket. One that a killed server has left is replaced; one that somebody serves, or
  // another kind of file, is `exists`.
  Result<void> listen(const std::string& path);

  // What the event loop is to watch ...
  void add_descriptors(std::vector<pollfd>& descriptors) const;
  // ... and to hand back, from the first descriptor added on.
  void serve(std::span<const pollfd> descriptors);

 private:
  struct Client;
  struct Work;

  void take_client();
  void read_from(Client& client);
  void go_on(Client& client);
  void obey(Client& client, std::string_view line);
  void start(Client& client, const control::Command& command);
  Result<std::unique_ptr<SnapshotOperation>> start_operation(const control::Command& command);
  // Whether an operation has ended; its client is answered.
  bool finish_work();
  void answer(Client& client, const control::Answer& answer);
  [[nodiscard]] control::Answer list() const;
  [[nodiscard]] control::Answer status() const;

  Image& image_;
  std::string file_;
  const std::atomic<unsigned>* client_count_;
  std::string path_;  // Empty: no socket was made.
  int listener_ = -1;
  std::vector<std::unique_ptr<Client>> clients_;
  std::unique_ptr<Work> work_;  // The operation under way; one at a time.
};

}  // namespace varve::nbd
