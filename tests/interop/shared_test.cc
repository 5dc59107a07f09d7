// Goal: two programs on one image, Varve and QEMU in every combination of writer, reader and reader
// that shares everything: who may not come in is told why, nobody inside notices, and who shares
// reads beside a writer what is there. Method: one opens, then the other; where both are in, the
// writer writes and the reader reads.
//
// With VARVE_INTEROP_SHARE each pair meets one version of QEMU, else all.
#include <gtest/gtest.h>

#include "interop/workbench.h"
#include "io/qemu_io.h"

namespace varve::interop {
namespace {

enum class Program : std::uint8_t { varve, qemu };
enum class Role : std::uint8_t { writer, reader, sharer };

constexpr std::uint64_t kSharedCluster = 65536;
// The first clusters are written before, the others only by the writer of the pair.
constexpr std::uint64_t kOldBytes = 4 * kSharedCluster;
constexpr std::uint64_t kNewBytes = 8 * kSharedCluster;
constexpr unsigned kOldSeed = 1;
constexpr unsigned kNewSeed = 2;

// A program that has the image open, or was refused.
class User {
 public:
  virtual ~User() = default;
  // Empty: it is in. Else what it says.
  [[nodiscard]] virtual std::string refusal() const = 0;
  virtual void write_new() = 0;
  // Reads all of it. Beside a writer what was there may show as it was.
  virtual void read(bool has_changed) = 0;
  virtual void close() = 0;
};

class VarveUser final : public User {
 public:
  VarveUser(Workbench& bench, Role role) {
    OpenOptions options;
    options.writable = role == Role::writer;
    options.force_share = role == Role::sharer;
    auto opened = Image::open(bench.engine(), bench.image_path(), options);
    if (opened) {
      image_ = std::move(*opened);
    } else {
      EXPECT_EQ(opened.error().code, ErrorCode::busy);
      refusal_ = describe(opened.error());
    }
  }
  [[nodiscard]] std::string refusal() const override { return refusal_; }
  void write_new() override {
    VARVE_EXPECT_OK(image_->write(0, filled(kNewSeed, kNewBytes)));
    VARVE_EXPECT_OK(image_->flush());
  }
  void read(bool has_changed) override {
    std::vector<std::byte> bytes(kNewBytes);
    VARVE_EXPECT_OK(image_->read(0, bytes));
    for (std::uint64_t at = 0; at < kNewBytes; at += kSharedCluster) {
      const std::span<const std::byte> cluster = std::span(bytes).subspan(at, kSharedCluster);
      const auto is = [&](const std::vector<std::byte>& content) {
        return std::ranges::equal(cluster, std::span(content).subspan(at, kSharedCluster));
      };
      const bool is_old =
          at < kOldBytes ? is(filled(kOldSeed, kOldBytes)) : is(std::vector<std::byte>(kNewBytes));
      EXPECT_TRUE(is_old || (has_changed && is(filled(kNewSeed, kNewBytes)))) << at;
    }
  }
  void close() override {
    if (image_ != nullptr) {
      VARVE_EXPECT_OK(image_->close());
    }
  }

 private:
  std::unique_ptr<Image> image_;
  std::string refusal_;
};

class QemuUser final : public User {
 public:
  QemuUser(Workbench& bench, Role role, const Peer& peer)
      : pattern_(bench.pattern_file(kNewSeed)),
        io_(std::make_unique<test::QemuIo>(peer.program("qemu-io"), arguments(bench, role))) {}
  [[nodiscard]] std::string refusal() const override { return io_->is_open() ? "" : io_->said; }
  void write_new() override {
    const std::string said = io_->run("write -s " + pattern_ + " 0 " + std::to_string(kNewBytes));
    EXPECT_NE(said.find("wrote " + std::to_string(kNewBytes)), std::string::npos) << said;
    io_->run("flush");
  }
  void read(bool /*has_changed*/) override {
    const std::string said = io_->run("read 0 " + std::to_string(kNewBytes));
    EXPECT_NE(said.find("read " + std::to_string(kNewBytes)), std::string::npos) << said;
  }
  void close() override { io_.reset(); }

 private:
  static std::vector<std::string> arguments(Workbench& bench, Role role) {
    std::vector<std::string> words = {"-f", "qcow2", bench.image_path()};
    if (role != Role::writer) {
      words.insert(words.begin(), "-r");
    }
    if (role == Role::sharer) {
      words.insert(words.begin(), "-U");
    }
    return words;
  }
  std::string pattern_;
  std::unique_ptr<test::QemuIo> io_;
};

std::unique_ptr<User> open(Program program, Workbench& bench, Role role, const Peer& peer) {
  if (program == Program::varve) {
    return std::make_unique<VarveUser>(bench, role);
  }
  return std::make_unique<QemuUser>(bench, role, peer);
}

struct Pair {
  Program first;
  Role first_role;
  Program second;
  Role second_role;
  [[nodiscard]] bool may_meet() const {
    const bool shares = first_role == Role::sharer || second_role == Role::sharer;
    return shares || (first_role == Role::reader && second_role == Role::reader);
  }
  [[nodiscard]] bool has_writer() const {
    return first_role == Role::writer || second_role == Role::writer;
  }
};

std::string name_of(Program program, Role role) {
  constexpr std::array kRoles = {"Writer", "Reader", "Sharer"};
  return (program == Program::varve ? "Varve" : "Qemu") +
         std::string(kRoles[static_cast<std::size_t>(role)]);
}
std::string name_of(const Pair& pair) {
  return name_of(pair.first, pair.first_role) + "Then" + name_of(pair.second, pair.second_role);
}

std::vector<Pair> pairs() {
  std::vector<Pair> all;
  for (const Program first : {Program::varve, Program::qemu}) {
    for (const Role first_role : {Role::writer, Role::reader, Role::sharer}) {
      for (const Program second : {Program::varve, Program::qemu}) {
        for (const Role second_role : {Role::writer, Role::reader, Role::sharer}) {
          all.push_back({first, first_role, second, second_role});
        }
      }
    }
  }
  return all;
}

class Shared : public ::testing::TestWithParam<Pair> {
 protected:
  static void meet(const Peer& peer) {
    SCOPED_TRACE(peer.name());
    const Pair& pair = GetParam();
    Workbench bench({3, kSharedCluster, 16, Kind::plain});
    bench.create_by_varve();
    bench.run_by_varve({{Step::Action::write, 0, kOldBytes, kOldSeed}});
    const auto first = open(pair.first, bench, pair.first_role, peer);
    ASSERT_EQ(first->refusal(), "");
    const auto second = open(pair.second, bench, pair.second_role, peer);
    if (pair.may_meet()) {
      EXPECT_EQ(second->refusal(), "");
      use_both(pair, *first, *second);
    } else {
      // A writer wants to write, and a reader that nobody does.
      const char* wanted = pair.second_role == Role::writer ? "Failed to get \"write\" lock"
                                                            : "Failed to get shared \"write\" lock";
      EXPECT_NE(second->refusal().find(wanted), std::string::npos) << second->refusal();
      use(pair.first_role, *first);
    }
    second->close();
    first->close();
    Content content = new_content(bench.example());
    std::ranges::copy(filled(kOldSeed, kOldBytes), content.begin());
    if (pair.first_role == Role::writer || (pair.second_role == Role::writer && pair.may_meet())) {
      std::ranges::copy(filled(kNewSeed, kNewBytes), content.begin());
      bench.expect_by(peer, content);
    }
    bench.expect_by_varve(content);
  }
  static void use(Role role, User& user) {
    if (role == Role::writer) {
      user.write_new();
    } else {
      user.read(false);
    }
  }
  static void use_both(const Pair& pair, User& first, User& second) {
    User& writer = pair.first_role == Role::writer ? first : second;
    User& reader = &writer == &first ? second : first;
    reader.read(false);
    if (pair.has_writer()) {
      writer.write_new();
    }
    reader.read(pair.has_writer());
  }
};

TEST_P(Shared, LetsInWhoMayBeThere) {
  VARVE_NEED_PEERS();
  if (part_count() > 1) {
    meet(peers()[turn_of(name_of(GetParam()), peers().size())]);
    return;
  }
  for (const Peer& peer : peers()) {
    meet(peer);
  }
}

INSTANTIATE_TEST_SUITE_P(Pairs, Shared, ::testing::ValuesIn(pairs()),
                         [](const auto& parameter) { return name_of(parameter.param); });

}  // namespace
}  // namespace varve::interop
