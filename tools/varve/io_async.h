// Requests that run while further commands are read: aio_read and aio_write.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include <varve/image.h>

#include "io_buffer.h"
#include "io_report.h"

namespace varve::tool {

class IoSession;

// One of them, from submission until its report is printed.
struct AsyncTransfer {
  IoSession* session = nullptr;
  BlockRequest request;
  IoBuffer buffer;
  std::vector<IoVector> vectors;
  IoReport report;
  const char* failure = "";  // "readv", "aio_write".
  bool quiet = false;
  bool machine_readable = false;
  bool verbose = false;
  bool force_unit_access = false;
  std::optional<unsigned char> pattern;
  IoClock::time_point start;
  bool finished = false;
};

class IoAsyncQueue {
 public:
  // Starts `transfer`, the list's only element.
  void start(std::list<AsyncTransfer>&& transfer);

  // Requests that never reached the image (they lie beyond its end, say) are reported here: not
  // before something waits, as all others.
  void finish_deferred();

  // Waits until nothing is in flight.
  void drain();

  [[nodiscard]] bool is_idle();

 private:
  void forget_finished();

  struct Deferred {
    AsyncTransfer* transfer;
    int problem;
  };
  std::list<AsyncTransfer> transfers_;
  std::vector<Deferred> deferred_;
};

}  // namespace varve::tool
