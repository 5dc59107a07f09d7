// Goal: no system call stands in the list that the library does not make: each is seen in a life of
// the use it is listed under, or the reason why not stands below. Method: children whose filter
// tells their tracer of every call of the list; lives of images over descriptors by both backends,
// by path and for direct I/O, and on a block device.
#include <map>
#include <optional>
#include <set>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <varve/system_calls.h>

#include "capi/disk_life.h"
#include "io/loop_device.h"
#include "io/sandbox.h"

namespace varve::test {
namespace {

using Calls = std::set<std::string>;

// The C library makes one of each pair.
constexpr std::array<std::pair<const char*, const char*>, 2> kAlternatives = {
    {{"newfstatat", "fstat"}, {"clone3", "clone"}}};

// What no life has to make where this runs, and the list's own words for it.
bool is_elsewhere(const SystemCallInfo& call, bool has_device) {
  static const std::map<std::string, std::string> kElsewhere = {
      {"clock_gettime", "times, where the vDSO cannot"},
      {"sched_getaffinity", "memory of more than eight threads"}};
  if (kIsSanitized && std::string_view(call.why) == "memory") {
    return true;  // The sanitizers' own memory comes otherwise.
  }
  const auto found = kElsewhere.find(call.name);
  return found != kElsewhere.end() ? found->second == call.why
                                   : std::string_view(call.name) == "ioctl" && !has_device;
}

bool is_seen(const Calls& seen, const std::string& name) {
  for (const auto& [one, other] : kAlternatives) {
    if (name == one || name == other) {
      return seen.contains(one) || seen.contains(other);
    }
  }
  return seen.contains(name);
}

// Every call of the list is told to the tracer, by its place.
bool tell_the_tracer() {
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  __u32 place = 0;
  for (const SystemCallInfo& call : system_calls()) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<__u32>(call.number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | place++));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// Lets the stopped child and its threads go on until it ends. What it answered; -1: it was killed.
int watch(pid_t child, Calls& calls) {
  while (true) {
    int status = 0;
    const pid_t stopped = ::waitpid(-1, &status, __WALL);
    if (stopped < 0 || (stopped == child && WIFSIGNALED(status))) {
      return -1;
    }
    if (stopped == child && WIFEXITED(status)) {
      return WEXITSTATUS(status);
    }
    if (!WIFSTOPPED(status)) {
      continue;  // The end of a thread.
    }
    if (status >> 16 == PTRACE_EVENT_SECCOMP) {
      unsigned long place = 0;
      ::ptrace(PTRACE_GETEVENTMSG, stopped, nullptr, &place);
      calls.insert(system_calls()[place].name);
    }
    const int signal = WSTOPSIG(status);
    const bool is_tracing = signal == SIGTRAP || signal == SIGSTOP;
    ::ptrace(PTRACE_CONT, stopped, nullptr, is_tracing ? 0 : signal);
  }
}

// The calls of the list that `body` makes in a child. Nothing: children cannot be traced here.
template <class Body>
std::optional<Calls> calls_of(Body body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool is_traced = ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0;
    ::raise(SIGSTOP);
    ::_exit(is_traced && tell_the_tracer() ? body() : 98);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) {
    return std::nullopt;
  }
  constexpr long kOptions = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  if (::ptrace(PTRACE_SETOPTIONS, child, nullptr, kOptions) != 0) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return std::nullopt;
  }
  ::ptrace(PTRACE_CONT, child, nullptr, 0);
  Calls calls;
  EXPECT_EQ(watch(child, calls), 0);
  return calls;
}

int live_over_descriptors(const Folder& folder, AioBackend backend) {
  std::array<int, 2> descriptors = {};
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    descriptors[i] = ::open(folder.file(std::to_string(i)).c_str(),
                            O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  }
  const std::unique_ptr<Engine> engine = make_engine(backend);
  return engine == nullptr ? 97
                           : live(*engine, descriptors, backend == AioBackend::threads ? 2 : 0);
}

// Two pieces of memory in one request.
Result<void> transfer_two(Storage& storage, StorageOperation operation) {
  ByteVector bytes(8192);
  const std::array<IoVector, 2> vectors = {{{bytes.data(), 4096}, {bytes.data() + 4096, 4096}}};
  Io io;
  io.operation = operation;
  io.vectors = vectors.data();
  io.vector_count = vectors.size();
  return run(storage, io);
}

// Many requests at once, so that all threads have work.
int read_much(Storage& storage) {
  constexpr std::size_t kRequests = 64;
  std::vector<std::unique_ptr<Io>> requests;
  std::vector<std::byte> bytes(kRequests * 4096);
  std::vector<IoVector> vectors(kRequests);
  for (std::size_t i = 0; i < kRequests; ++i) {
    vectors[i] = {bytes.data() + i * 4096, 4096};
    requests.push_back(std::make_unique<Io>());
    requests[i]->offset = i * 4096;
    requests[i]->vectors = &vectors[i];
    requests[i]->vector_count = 1;
    requests[i]->start(storage);
  }
  for (const auto& request : requests) {
    while (!request->result) {
      storage.engine().wait();
    }
  }
  return 0;
}

// A new image by its path, written past the page cache, and a raw one with holes.
int live_by_paths(const Folder& folder, AioBackend backend) {
  constexpr unsigned kThreads = 8;
  const std::unique_ptr<Engine> engine = make_engine(backend, 256, kThreads);
  const std::string name = backend == AioBackend::threads ? "by threads" : "by path";
  CreateOptions create;
  create.size_bytes = kLifeDiskBytes;
  MUST_IN_CHILD(create_image(*engine, folder.file(name), create));
  OpenOptions options;
  options.writable = true;
  options.file.direct = true;
  auto image = Image::open(*engine, folder.file(name), options);
  MUST_IN_CHILD(image);
  MUST_IN_CHILD((*image)->write(5, pattern(300'000, 1)));
  MUST_IN_CHILD((*image)->close());
  auto storage = open_file(*engine, folder.file(name + ".raw"), {.writable = true, .create = true});
  MUST_IN_CHILD(storage);
  MUST_IN_CHILD(run(**storage, StorageOperation::resize, kLifeDiskBytes));
  MUST_IN_CHILD(transfer_two(**storage, StorageOperation::write));
  MUST_IN_CHILD(transfer_two(**storage, StorageOperation::read));
  OpenOptions raw;
  raw.format = Format::raw;
  MUST_IN_CHILD(Result<int>(read_much(**storage)));
  auto disk = Image::open(std::move(*storage), "", raw);
  MUST_IN_CHILD(disk);
  MUST_IN_CHILD((*disk)->status(0, kLifeDiskBytes));
  return 0;
}

int live_on_device(const std::string& path, AioBackend backend) {
  const std::unique_ptr<Engine> engine = make_engine(backend);
  auto storage = open_file(*engine, path, {.writable = true});
  MUST_IN_CHILD(storage);
  MUST_IN_CHILD(run(**storage, StorageOperation::discard, 0, 65'536));
  return 0;
}

TEST(SystemCallList, EachCallIsMadeInALifeOfItsUse) {
  const Folder folder;
  LoopDevice device;
  const bool has_device = device.attach(folder.file("device"), kLifeDiskBytes, 512);
  std::map<SystemCallUse, Calls> seen;
  for (const AioBackend backend : {AioBackend::io_uring, AioBackend::threads}) {
    if (make_engine(backend) == nullptr) {
      VARVE_MACHINE_LACKS("io_uring is refused here");
    }
    const auto life = calls_of([&] { return live_over_descriptors(folder, backend); });
    if (!life) {
      VARVE_MACHINE_LACKS("children cannot be traced here");
    }
    auto all = *life;
    const auto more = calls_of([&] { return live_by_paths(folder, backend); });
    ASSERT_TRUE(more);
    seen[SystemCallUse::paths].insert(more->begin(), more->end());
    all.insert(more->begin(), more->end());
    if (has_device) {
      const auto on_device = calls_of([&] { return live_on_device(device.path(), backend); });
      ASSERT_TRUE(on_device);
      all.insert(on_device->begin(), on_device->end());
    }
    seen[backend == AioBackend::io_uring ? SystemCallUse::io_uring : SystemCallUse::threads] = all;
    seen[SystemCallUse::running].insert(all.begin(), all.end());
  }
  seen[SystemCallUse::opening] = seen[SystemCallUse::running];
  for (const SystemCallInfo& call : system_calls()) {
    EXPECT_TRUE(is_elsewhere(call, has_device) || is_seen(seen[call.use], call.name))
        << call.name << ": " << call.why;
  }
}

}  // namespace
}  // namespace varve::test
