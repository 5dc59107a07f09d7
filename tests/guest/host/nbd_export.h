// NbdExport: an image over NBD on a Unix socket, as much of the protocol as QEMU's client speaks to
// a server without structured replies: fixed newstyle, NBD_OPT_GO, simple replies.
//
// Threads: all of it on the image's thread. The owner's loop polls descriptor() and calls serve()
// when it is ready; requests complete inside the engine's poll. One client at a time: the next one
// is taken when every request of the one before is carried out, so nothing that a killed client had
// sent arrives in the disk of its successor. Trusts its client: this is a test's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <poll.h>
#include <varve/image.h>

namespace varve::test {

class NbdExport {
 public:
  explicit NbdExport(Image& image) noexcept;
  // REQUIRES: no request in flight.
  ~NbdExport();
  NbdExport(const NbdExport&) = delete;
  NbdExport& operator=(const NbdExport&) = delete;

  // False: errno says why.
  [[nodiscard]] bool listen(const std::string& path);
  // What to wait for now.
  [[nodiscard]] pollfd descriptor() const noexcept;
  // `ready`: the descriptor after poll.
  void serve(const pollfd& ready);
  [[nodiscard]] bool has_requests() const noexcept { return !requests_.empty(); }

 private:
  enum class Phase : std::uint8_t { flags, options, requests };
  struct Request;

  void take_client();
  void receive();
  void end_client();
  // The size of what stands at the front of the input and was taken; 0: it is not whole yet.
  std::size_t take_flags();
  std::size_t take_option();
  std::size_t take_request();
  void offer_export(std::uint32_t option);
  void submit(Request& request);
  void complete(Request& request, const Result<void>& result);
  void send();

  Image* image_;
  std::string path_;
  int listener_ = -1;
  int client_ = -1;       // -1: none, or it has gone and requests of it are left.
  unsigned clients_ = 0;  // So many were taken; tells whose a request is.
  Phase phase_ = Phase::flags;
  std::vector<std::byte> input_;
  std::vector<std::byte> output_;
  std::vector<std::unique_ptr<Request>> requests_;
};

}  // namespace varve::test
