// Goal: a process that is killed at any instant while it writes a disk and takes, applies and
// deletes snapshots of it loses nothing that was flushed and harms no snapshot that was published.
// Method: a worker (kill/worker.h) is killed by the kernel after a random amount of its CPU time;
// what stands in the file is held against the log it kept in shared memory, judged by Varve's check
// and by QEMU's, and the next worker goes on with the same image.
//
// VARVE_SEED chooses what happens, VARVE_KILLS how many workers are killed over all cases (100 in
// an ordinary run, a few under sanitizers, 2,000 under VARVE_LONG).
#include <cerrno>
#include <csignal>
#include <ctime>
#include <map>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varve/check.h>
#include <varve/create.h>

#include "kill/worker.h"
#include "model/lab.h"
#include "model/qemu_img.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VARVE_IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define VARVE_IS_SLOW 1
#endif
#endif

namespace varve::test {
namespace {

#ifdef VARVE_IS_SLOW
constexpr std::uint64_t kKills = 6;
#else
constexpr std::uint64_t kKills = 100;
#endif
constexpr std::uint64_t kKillsLong = 2000;
constexpr std::uint64_t kRequestsMax = 100'000;  // A worker that is never killed ends.
constexpr std::uint64_t kCpuNanosecondsMax = 25'000'000;
constexpr std::uint64_t kFirstBytes = 600 * 1024;

struct KillCase {
  const char* name;
  std::uint32_t cluster_bytes;
  std::uint32_t version;
};
constexpr KillCase kCases[] = {{"C4k", 4096, 3}, {"C512", 512, 3}, {"C4kVersion2", 4096, 2}};

class Kill : public ::testing::TestWithParam<KillCase> {
 protected:
  // The kernel takes a killed process's locks back only when its ring is gone, a moment later.
  [[nodiscard]] Result<std::unique_ptr<Image>> open(Engine& engine) const {
    OpenOptions options;
    options.writable = true;
    for (unsigned tries = 0;; ++tries) {
      auto image = Image::open(engine, path_, options);
      if (image || image.error().code != ErrorCode::busy || tries > 5000) {
        return image;
      }
      ::poll(nullptr, 0, 1);
    }
  }
  void create() {
    auto engine = Engine::create();
    ASSERT_TRUE(engine.has_value());
    CreateOptions wishes;
    wishes.size_bytes = kFirstBytes;
    wishes.cluster_bytes = GetParam().cluster_bytes;
    wishes.version = GetParam().version;
    const Result<void> created = create_image(**engine, path_, wishes);
    ASSERT_TRUE(created.has_value()) << describe(created.error());
    log_->size.store(kFirstBytes);
    log_->next_size.store(kFirstBytes);
    log_->next_stamp.store(1);
    for (SectorHistory& history : log_->disk) {
      history.set(model::kZeroStamp);
    }
  }

  // In the child: SIGKILL comes from the kernel when the process has used so much CPU.
  void work(std::uint64_t seed, std::uint64_t cpu_nanoseconds) {
    struct sigevent event {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGKILL;
    timer_t timer{};
    struct itimerspec when {};
    when.it_value.tv_nsec = static_cast<long>(cpu_nanoseconds);
    auto engine = Engine::create();
    auto image = engine ? open(**engine) : Result<std::unique_ptr<Image>>(engine.error());
    if (!image || ::timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) != 0 ||
        ::timer_settime(timer, 0, &when, nullptr) != 0) {
      log_->fail("the worker cannot begin");
      ::_exit(1);
    }
    KillWorker(*log_, **engine, **image, GetParam().cluster_bytes, seed).run(kRequestsMax);
    const Result<void> closed = (*image)->close();
    if (!closed) {
      log_->fail("close: " + describe(closed.error()));
    }
    ::_exit(0);
  }
  // Whether it was killed.
  bool run_worker(std::uint64_t seed, std::uint64_t cpu_nanoseconds) {
    const pid_t child = ::fork();
    if (child == 0) {
      work(seed, cpu_nanoseconds);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    EXPECT_STREQ(log_->failure.data(), "");
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

  static std::vector<std::uint64_t> identities_of(Image& image) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(image.size()));
    const Result<void> read = image.read(0, bytes);
    EXPECT_TRUE(read.has_value()) << describe(read.error());
    std::vector<std::uint64_t> identities;
    for (std::size_t at = 0; at < bytes.size(); at += kKillSectorBytes) {
      identities.push_back(model::identify_sector(ConstBytes(bytes).subspan(at, kKillSectorBytes)));
    }
    return identities;
  }
  template <class Allows>
  static std::string find_wrong(const std::vector<std::uint64_t>& identities, Allows&& allows) {
    for (std::size_t i = 0; i < identities.size(); ++i) {
      const auto stamp = static_cast<model::Stamp>(identities[i] >> 32);
      if (identities[i] != model::identity_of(stamp, i) || !allows(i, stamp)) {
        return "sector " + std::to_string(i) + " shows " + model::describe_identity(identities[i]);
      }
    }
    return "";
  }
  void judge_disk(Image& image) {
    const std::uint64_t size = image.size();
    EXPECT_TRUE(size == log_->size.load() || size == log_->next_size.load()) << size;
    const auto found = identities_of(image);
    std::string wrong = find_wrong(
        found, [&](std::size_t i, model::Stamp stamp) { return log_->disk[i].allows(stamp); });
    if (const std::uint32_t place = log_->applying.exchange(0); place != 0 && !wrong.empty()) {
      const SnapshotLog& applied = log_->snapshots[place - 1];
      const std::string other = find_wrong(
          found, [&](std::size_t i, model::Stamp stamp) { return applied.allows(i, stamp); });
      wrong = other.empty() ? "" : wrong + "; or, applied, " + other;
    }
    EXPECT_EQ(wrong, "");
    log_->size.store(size);
    log_->next_size.store(size);
    for (std::size_t i = 0; i < found.size(); ++i) {
      log_->disk[i].set(static_cast<model::Stamp>(found[i] >> 32));
    }
  }
  void judge_snapshots(Image& image) {
    std::map<std::string, SnapshotLog*> known;
    for (SnapshotLog& snapshot : log_->snapshots) {
      if (snapshot.state.load() >= SnapshotLog::State::frozen) {
        known[snapshot.name.data()] = &snapshot;
      } else {
        snapshot.state.store(SnapshotLog::State::none);
      }
    }
    const auto list = list_snapshots(image).value();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto entry = known.find(list[i].name);
      ASSERT_NE(entry, known.end()) << list[i].name << " was never published";
      SnapshotLog& snapshot = *entry->second;
      known.erase(entry);
      auto opened = open_snapshot(image, i);
      ASSERT_TRUE(opened.has_value()) << describe(opened.error());
      EXPECT_EQ((*opened)->size(), snapshot.size);
      const auto found = identities_of(**opened);
      EXPECT_EQ(find_wrong(found, [&](std::size_t at,
                                      model::Stamp stamp) { return snapshot.allows(at, stamp); }),
                "")
          << list[i].name;
      for (std::size_t at = 0; at < found.size(); ++at) {
        const auto stamp = static_cast<model::Stamp>(found[at] >> 32);
        snapshot.sectors[at] = {stamp, stamp};  // It never changes again.
      }
      snapshot.state.store(SnapshotLog::State::published);
    }
    for (const auto& [name, snapshot] : known) {
      EXPECT_NE(snapshot->state.load(), SnapshotLog::State::published) << name << " is lost";
      snapshot->state.store(SnapshotLog::State::none);
    }
  }
  void judge() {
    auto engine = Engine::create();
    ASSERT_TRUE(engine.has_value());
    auto image = open(**engine);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    // Version 2 has no dirty bit: wrong COPIED flags are found by check, and harmless.
    const bool excuse = GetParam().version < 3;
    EXPECT_EQ(model::check_image(**image, excuse, false).value_or(""), "");
    judge_disk(**image);
    judge_snapshots(**image);
    const Result<void> closed = (*image)->close();
    EXPECT_TRUE(closed.has_value()) << describe(closed.error());
    image->reset();
    // qemu-img takes such a flag for an error.
    if (!excuse && model::has_program("qemu-img")) {
      EXPECT_EQ(model::qemu_check(path_, false).value_or(""), "");
    }
  }

  model::TemporaryFolder folder_;
  std::string path_ = folder_.file("image.qcow2");
  SharedLogMemory log_;
};

TEST_P(Kill, LosesNothingThatWasFlushedOrPublished) {
  if (!model::has_program("qemu-img")) {
    ASSERT_FALSE(model::programs_are_required()) << "qemu-img is missing";
  }
  const std::uint64_t seed = sim::seed_from_environment();
  const bool is_long = sim::environment_number("VARVE_LONG", 0) != 0;
  const std::uint64_t kills =
      sim::environment_number("VARVE_KILLS", is_long ? kKillsLong : kKills) / std::size(kCases) + 1;
  sim::Random random(sim::Random::mix(seed ^ std::hash<std::string>{}(GetParam().name)));
  create();
  std::map<std::string, unsigned> by_activity;
  std::uint64_t killed = 0;
  for (unsigned turn = 0; killed < kills && !HasFailure(); ++turn) {
    const std::uint64_t worker_seed = random.next();
    const std::uint64_t cpu =
        random.between(100'000, kCpuNanosecondsMax) * (random.chance(40) ? 4 : 1);
    SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed) + ", worker " + std::to_string(turn) +
                 " with seed " + std::to_string(worker_seed));
    log_->activity.store(0);
    log_->phase.store(0);
    const bool was_killed = run_worker(worker_seed, cpu);
    killed += was_killed ? 1 : 0;
    constexpr const char* kActivities[] = {"requests", "create", "apply", "delete", "grow"};
    ++by_activity[kActivities[log_->activity.load()]];
    judge();
    ASSERT_LT(turn, 10 * kills) << "workers end before they are killed";
  }
  std::printf("%s: %llu kills, %llu requests, %llu operations ended; killed during",
              GetParam().name, static_cast<unsigned long long>(killed),
              static_cast<unsigned long long>(log_->requests.load()),
              static_cast<unsigned long long>(log_->operations.load()));
  for (const auto& [activity, count] : by_activity) {
    std::printf(" %s %u", activity.c_str(), count);
  }
  std::printf("\n");
  EXPECT_GT(log_->requests.load(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Cases, Kill, ::testing::ValuesIn(kCases),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace varve::test
