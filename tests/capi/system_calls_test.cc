// Goal: the list of system calls is all that the library needs, and without the calls for paths it
// opens nothing. Method: a whole life of two images, over descriptors, in a child under a filter
// that kills it at any other call; what it died of is told by number.
#include <csignal>
#include <set>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <varve/system_calls.h>

#include "capi/disk_life.h"
#include "io/io_fixture.h"
#include "io/sandbox.h"
#include "model/missing.h"

namespace varve::test {
namespace {

// What the child itself and the sanitizers need beside the library.
std::vector<long> calls_of_the_test() {
  std::vector<long> calls = {SYS_exit_group, SYS_rt_sigreturn, SYS_restart_syscall};
  if (kIsSanitized) {
    calls.insert(calls.end(), {SYS_sigaltstack, SYS_sched_yield, SYS_gettid, SYS_getpid, SYS_mremap,
                               SYS_rt_sigaction, SYS_prlimit64, SYS_rt_sigprocmask, SYS_pipe2});
  }
  return calls;
}

// Calls of the uses, and those of the test, are allowed; any other is told by a signal.
bool allow_only(const std::set<SystemCallUse>& uses) {
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  const auto allow = [&](long number) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<__u32>(number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  };
  for (const SystemCallInfo& call : system_calls()) {
    if (uses.contains(call.use)) {
      allow(call.number);
    }
  }
  for (const long number : calls_of_the_test()) {
    allow(number);
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
  const sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    std::array<char, 64> text = {};
    const int size = std::snprintf(text.data(), text.size(), "system call %d is not allowed\n",
                                   info->si_syscall);
    [[maybe_unused]] const auto written =
        ::write(2, text.data(), static_cast<std::size_t>(std::max(size, 0)));
    ::_exit(99);
  };
  return ::sigaction(SIGSYS, &action, nullptr) == 0 &&
         ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

int live_under_filter(AioBackend backend, const std::set<SystemCallUse>& uses, unsigned threads) {
  const Folder folder;
  std::array<int, 2> descriptors = {};
  for (int i = 0; i < 2; ++i) {
    descriptors[static_cast<std::size_t>(i)] =
        ::open(folder.file(std::to_string(i)).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!allow_only(uses)) {
      ::_exit(98);
    }
    const std::unique_ptr<Engine> engine = make_engine(backend);
    ::_exit(engine == nullptr ? 97 : live(*engine, descriptors, threads));
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
    return -1;
  }
  ::close(descriptors[0]);
  ::close(descriptors[1]);
  return WEXITSTATUS(status);
}

TEST(SystemCalls, ByIoUringWithoutThreadsAndPaths) {
  if (const auto engine = make_engine(AioBackend::io_uring); engine == nullptr) {
    VARVE_MACHINE_LACKS("io_uring is refused here");
  }
  using enum SystemCallUse;
  EXPECT_EQ(live_under_filter(AioBackend::io_uring, {running, opening, io_uring}, 0), 0);
}

TEST(SystemCalls, ByThreadsWithoutIoUringAndPaths) {
  using enum SystemCallUse;
  EXPECT_EQ(live_under_filter(AioBackend::threads, {running, opening, threads}, 2), 0);
}

TEST(SystemCalls, WithoutTheListNothingGoes) {
  // The filter does filter: the engine of threads dies without their calls.
  using enum SystemCallUse;
  EXPECT_NE(live_under_filter(AioBackend::threads, {running, opening}, 2), 0);
}

TEST(SystemCalls, EachStandsInTheListOnce) {
  std::set<int> numbers;
  std::set<std::string> names;
  for (const SystemCallInfo& call : system_calls()) {
    EXPECT_TRUE(numbers.insert(call.number).second) << call.name;
    EXPECT_TRUE(names.insert(call.name).second) << call.name;
  }
}

}  // namespace
}  // namespace varve::test
