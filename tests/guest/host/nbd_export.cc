#include "guest/host/nbd_export.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <string_view>

#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "control/socket_address.h"

namespace varve::test {
namespace {

// Names and numbers of the NBD protocol's document.
constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
constexpr std::uint32_t kReplyMagic = 0x67446698;
constexpr std::uint16_t kFixedNewstyle = 1;
constexpr std::uint16_t kNoZeroes = 2;
constexpr std::uint32_t kOptionAbort = 2;
constexpr std::uint32_t kOptionGo = 7;
constexpr std::uint32_t kAck = 1;
constexpr std::uint32_t kInfo = 3;
constexpr std::uint32_t kUnsupported = (1u << 31) + 1;
constexpr std::uint16_t kInfoExport = 0;
// Flags, flush, FUA, trim, write zeroes.
constexpr std::uint16_t kTransmissionFlags = 1 | 4 | 8 | 32 | 64;
constexpr std::size_t kFlagsBytes = 4;
constexpr std::size_t kOptionBytes = 16;
constexpr std::size_t kRequestBytes = 28;

// Commands, and their flags.
constexpr std::uint16_t kRead = 0;
constexpr std::uint16_t kWrite = 1;
constexpr std::uint16_t kDisconnect = 2;
constexpr std::uint16_t kTrim = 4;
constexpr std::uint16_t kWriteZeroes = 6;
constexpr std::uint16_t kFua = 1;
constexpr std::uint16_t kNoHole = 2;

template <std::unsigned_integral Integer>
void append(std::vector<std::byte>& target, Integer value) {
  const std::size_t at = target.size();
  target.resize(at + sizeof(value));
  store_be(target, at, value);
}

void append_option_reply(std::vector<std::byte>& target, std::uint32_t option, std::uint32_t type,
                         std::uint32_t length) {
  append(target, kOptionReplyMagic);
  append(target, option);
  append(target, type);
  append(target, length);
}

BlockOperation operation_of(std::uint16_t command) noexcept {
  switch (command) {
    case kRead:
      return BlockOperation::read;
    case kWrite:
      return BlockOperation::write;
    case kTrim:
      return BlockOperation::discard;
    case kWriteZeroes:
      return BlockOperation::write_zeroes;
    default:  // 3: the only other one that is offered.
      return BlockOperation::flush;
  }
}

// NBD's numbers of errors are Linux's.
std::uint32_t error_number(const Result<void>& result) noexcept {
  if (result) {
    return 0;
  }
  return result.error().code == ErrorCode::no_space ? ENOSPC : EIO;
}

}  // namespace

struct NbdExport::Request : BlockRequest {
  NbdExport* server = nullptr;
  unsigned client = 0;
  std::uint64_t cookie = 0;
  bool is_read = false;
  bool has_fua = false;
  std::vector<std::byte> memory;
  IoVector piece;
};

NbdExport::NbdExport(Image& image) noexcept : image_(&image) {}

NbdExport::~NbdExport() {
  if (client_ >= 0) {
    ::close(client_);
  }
  if (listener_ >= 0) {
    ::close(listener_);
    ::unlink(path_.c_str());
  }
}

bool NbdExport::listen(const std::string& path) {
  control::SocketAddress address;
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  path_ = path;
  return listener_ >= 0 && address.set(path) && address.bind(listener_) &&
         ::listen(listener_, 1) == 0;
}

pollfd NbdExport::descriptor() const noexcept {
  if (client_ >= 0) {
    return {client_, static_cast<short>(output_.empty() ? POLLIN : POLLIN | POLLOUT), 0};
  }
  return {requests_.empty() ? listener_ : -1, POLLIN, 0};
}

void NbdExport::serve(const pollfd& ready) {
  if (client_ < 0) {
    if (ready.revents != 0) {
      take_client();
    }
    return;
  }
  if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
    receive();
  }
  send();  // Answers of completions, too.
}

void NbdExport::take_client() {
  client_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  ++clients_;
  phase_ = Phase::flags;
  input_.clear();
  output_.clear();
  constexpr std::string_view kGreeting = "NBDMAGICIHAVEOPT";
  const auto greeting = std::as_bytes(std::span(kGreeting));
  output_.assign(greeting.begin(), greeting.end());
  append<std::uint16_t>(output_, kFixedNewstyle | kNoZeroes);
  send();
}

void NbdExport::end_client() {
  if (client_ >= 0) {
    ::close(client_);
    client_ = -1;
  }
}

void NbdExport::receive() {
  std::array<std::byte, 65536> piece;
  const ssize_t count = ::recv(client_, piece.data(), piece.size(), 0);
  if (count <= 0) {
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      end_client();
    }
    return;
  }
  input_.insert(input_.end(), piece.begin(), piece.begin() + count);
  std::size_t taken = 1;
  while (taken != 0 && client_ >= 0) {
    taken = phase_ == Phase::flags     ? take_flags()
            : phase_ == Phase::options ? take_option()
                                       : take_request();
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(taken));
  }
}

std::size_t NbdExport::take_flags() {
  if (input_.size() < kFlagsBytes) {
    return 0;
  }
  phase_ = Phase::options;
  return kFlagsBytes;
}

std::size_t NbdExport::take_option() {
  if (input_.size() < kOptionBytes) {
    return 0;
  }
  const auto option = load_be<std::uint32_t>(input_, 8);
  const std::size_t whole = kOptionBytes + load_be<std::uint32_t>(input_, 12);
  if (input_.size() < whole) {
    return 0;
  }
  if (load_be<std::uint64_t>(input_, 0) != kOptionMagic || option == kOptionAbort) {
    end_client();
  } else if (option == kOptionGo) {
    offer_export(option);
  } else {
    append_option_reply(output_, option, kUnsupported, 0);
  }
  return whole;
}

// There is one export, whatever name the client says.
void NbdExport::offer_export(std::uint32_t option) {
  append_option_reply(output_, option, kInfo, 12);
  append(output_, kInfoExport);
  append(output_, image_->size());
  append(output_, kTransmissionFlags);
  append_option_reply(output_, option, kAck, 0);
  phase_ = Phase::requests;
}

std::size_t NbdExport::take_request() {
  if (input_.size() < kRequestBytes) {
    return 0;
  }
  const auto flags = load_be<std::uint16_t>(input_, 4);
  const auto command = load_be<std::uint16_t>(input_, 6);
  const auto length = load_be<std::uint32_t>(input_, 24);
  const std::size_t whole = kRequestBytes + (command == kWrite ? length : 0);
  if (input_.size() < whole) {
    return 0;
  }
  if (command == kDisconnect) {
    end_client();
    return whole;
  }
  Request& request = *requests_.emplace_back(std::make_unique<Request>());
  request.server = this;
  request.client = clients_;
  request.cookie = load_be<std::uint64_t>(input_, 8);
  request.is_read = command == kRead;
  request.has_fua = (flags & kFua) != 0;
  request.operation = operation_of(command);
  request.may_unmap = (flags & kNoHole) == 0;
  request.offset = load_be<std::uint64_t>(input_, 16);
  request.length = length;
  if (command == kWrite) {
    request.memory.assign(input_.begin() + kRequestBytes,
                          input_.begin() + static_cast<std::ptrdiff_t>(whole));
  } else if (command == kRead) {
    request.memory.resize(length);
  }
  submit(request);
  return whole;
}

void NbdExport::submit(Request& request) {
  if (!request.memory.empty()) {
    request.piece = {request.memory.data(), request.memory.size()};
    request.vectors = &request.piece;
    request.vector_count = 1;
  }
  request.complete = [](BlockRequest& completed, const Result<void>& result) {
    auto& mine = static_cast<Request&>(completed);
    mine.server->complete(mine, result);
  };
  image_->submit(request);
}

void NbdExport::complete(Request& request, const Result<void>& result) {
  if (result && request.has_fua) {
    request.has_fua = false;
    request.operation = BlockOperation::flush;
    request.offset = request.length = 0;
    request.vector_count = 0;
    image_->submit(request);
    return;
  }
  if (client_ >= 0 && request.client == clients_) {
    append(output_, kReplyMagic);
    append(output_, error_number(result));
    append(output_, request.cookie);
    if (result && request.is_read) {
      output_.insert(output_.end(), request.memory.begin(), request.memory.end());
    }
  }
  std::erase_if(requests_, [&](const auto& one) { return one.get() == &request; });
}

void NbdExport::send() {
  while (client_ >= 0 && !output_.empty()) {
    const ssize_t sent = ::send(client_, output_.data(), output_.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) {
        end_client();
      }
      return;
    }
    output_.erase(output_.begin(), output_.begin() + sent);
  }
}

}  // namespace varve::test
