// The engine's loop: who may wake it, when callbacks run, and when a wait must not block. The loop
// runs on both backends; other threads post while it waits.
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>

#include "io/io_fixture.h"

namespace varve::test {
namespace {

bool is_readable(int descriptor) {
  pollfd entry = {descriptor, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

void wait_readable(int descriptor) {
  pollfd entry = {descriptor, POLLIN, 0};
  while (::poll(&entry, 1, -1) != 1) {
  }
}

struct Counted : StorageRequest {
  Counted() {
    complete = [](StorageRequest& request, const Result<void>& result) {
      auto& self = static_cast<Counted&>(request);
      ++self.runs;
      self.last = result;
    };
  }
  int runs = 0;
  Result<void> last;
};

class EngineSuite : public ::testing::TestWithParam<AioBackend> {
 protected:
  void SetUp() override {
    engine = make_engine(GetParam());
    if (engine == nullptr) {
      VARVE_MACHINE_LACKS("io_uring is refused here");
    }
    ASSERT_EQ(engine->backend(), GetParam());
  }
  std::unique_ptr<Storage> open_disk(bool direct = false) {
    FileOptions options;
    options.writable = true;
    options.create = true;
    options.direct = direct;
    return std::move(*open_file(*engine, folder.file("disk"), options));
  }
  Folder folder;
  std::unique_ptr<Engine> engine;
};

TEST_P(EngineSuite, PostsRunFromPollOnly) {
  Counted request;
  engine->post(request, Result<void>());
  EXPECT_EQ(request.runs, 0);
  EXPECT_EQ(engine->poll(), 1U);
  EXPECT_EQ(request.runs, 1);
  EXPECT_EQ(engine->poll(), 0U);
}

TEST_P(EngineSuite, ResultsReachTheCallback) {
  Counted request;
  Error error;
  error.code = ErrorCode::timed_out;
  error.os_errno = 7;
  engine->post(request, error);
  engine->wait();
  ASSERT_FALSE(request.last.has_value());
  EXPECT_EQ(request.last.error().code, ErrorCode::timed_out);
  EXPECT_EQ(request.last.error().os_errno, 7);
}

TEST_P(EngineSuite, APostInsideACallbackWaitsForTheNextPoll) {
  struct Endless : StorageRequest {
    Engine* engine = nullptr;
    int runs = 0;
  } request;
  request.engine = engine.get();
  request.complete = [](StorageRequest& base, const Result<void>&) {
    auto& self = static_cast<Endless&>(base);
    if (++self.runs < 5) {
      self.engine->post(self, Result<void>());
    }
  };
  engine->post(request, Result<void>());
  EXPECT_EQ(engine->poll(), 1U);
  EXPECT_EQ(request.runs, 1);
  while (engine->poll() != 0) {
  }
  EXPECT_EQ(request.runs, 5);
}

TEST_P(EngineSuite, OtherThreadsWakeAWait) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 500;
  std::vector<std::unique_ptr<Counted>> requests;
  for (int i = 0; i < kThreads * kPosts; ++i) {
    requests.push_back(std::make_unique<Counted>());
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        engine->post_from_any_thread(*requests[static_cast<std::size_t>(t * kPosts + i)],
                                     Result<void>());
      }
    });
  }
  std::size_t ran = 0;
  while (ran < requests.size()) {
    const std::size_t now = engine->wait();
    ASSERT_GE(now, 1U);
    ran += now;
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const auto& request : requests) {
    EXPECT_EQ(request->runs, 1);
  }
}

// History: 5e97855052, cloud-hypervisor 7660.
TEST_P(EngineSuite, OtherThreadsAndFilesTogether) {
  const std::unique_ptr<Storage> storage = open_disk();
  std::vector<std::unique_ptr<Counted>> requests;
  for (int i = 0; i < 500; ++i) {
    requests.push_back(std::make_unique<Counted>());
  }
  std::thread thread([&] {
    for (const auto& request : requests) {
      engine->post_from_any_thread(*request, Result<void>());
    }
  });
  ByteVector bytes = pattern(4096, 1);
  for (std::uint64_t i = 0; i < 200; ++i) {
    VARVE_ASSERT_OK(
        transfer(*storage, StorageOperation::write, i * 4096, bytes.data(), bytes.size()));
  }
  thread.join();
  engine->poll();
  for (const auto& request : requests) {
    EXPECT_EQ(request->runs, 1);
  }
}

TEST_P(EngineSuite, TheEventDescriptorTellsOfCompletions) {
  const std::unique_ptr<Storage> storage = open_disk();
  const int event = engine->event_fd();
  ASSERT_GE(event, 0);
  engine->poll();
  EXPECT_FALSE(is_readable(event));
  ByteVector bytes = pattern(4096, 2);
  IoVector vector = {bytes.data(), bytes.size()};
  for (int round = 0; round < 20; ++round) {
    Io io;
    io.operation = round % 5 == 4 ? StorageOperation::flush : StorageOperation::write;
    io.vectors = io.operation == StorageOperation::write ? &vector : nullptr;
    io.vector_count = io.operation == StorageOperation::write ? 1 : 0;
    io.start(*storage);
    engine->submit_pending();
    while (!io.result.has_value()) {
      wait_readable(event);
      engine->poll();
    }
    VARVE_EXPECT_OK(*io.result);
  }
}

TEST_P(EngineSuite, TheEventDescriptorTellsOfPosts) {
  Counted early;
  engine->post(early, Result<void>());
  const int event = engine->event_fd();
  EXPECT_TRUE(is_readable(event));
  EXPECT_EQ(engine->poll(), 1U);
  EXPECT_FALSE(is_readable(event));
  Counted late;
  engine->post(late, Result<void>());
  EXPECT_TRUE(is_readable(event));
  EXPECT_EQ(engine->poll(), 1U);
  Counted far;
  std::thread thread([&] { engine->post_from_any_thread(far, Result<void>()); });
  wait_readable(event);
  EXPECT_EQ(engine->poll(), 1U);
  thread.join();
  EXPECT_FALSE(is_readable(event));
}

TEST_P(EngineSuite, TheEventDescriptorStaysReadableForPostsOfCallbacks) {
  const int event = engine->event_fd();
  Counted second;
  struct First : StorageRequest {
    Engine* engine = nullptr;
    Counted* second = nullptr;
  } first;
  first.engine = engine.get();
  first.second = &second;
  first.complete = [](StorageRequest& base, const Result<void>&) {
    auto& self = static_cast<First&>(base);
    self.engine->post(*self.second, Result<void>());
  };
  engine->post(first, Result<void>());
  EXPECT_EQ(engine->poll(), 1U);
  EXPECT_TRUE(is_readable(event));
  EXPECT_EQ(engine->poll(), 1U);
  EXPECT_EQ(second.runs, 1);
}

TEST_P(EngineSuite, WaitEndsAtItsTimeLimit) {
  EXPECT_EQ(engine->wait(0), 0U);
  EXPECT_EQ(engine->wait(1), 0U);
  EXPECT_GE(engine->event_fd(), 0);
  EXPECT_EQ(engine->wait(1), 0U);
}

struct TestSource : Engine::Source {
  std::size_t advance() noexcept override {
    ++calls;
    if (left > 0) {
      --left;
      engine->post(request, Result<void>());
      return 1;
    }
    return 0;
  }
  Engine* engine = nullptr;
  Counted request;
  int calls = 0;
  int left = 0;
};

TEST_P(EngineSuite, SourcesMakeProgressAndKeepAWaitFromBlocking) {
  TestSource source;
  TestSource other;
  source.engine = other.engine = engine.get();
  source.left = 3;
  engine->add_source(source);
  engine->add_source(other);
  for (int i = 1; i <= 3; ++i) {
    EXPECT_EQ(engine->wait(), 1U);
    EXPECT_EQ(source.request.runs, i);
  }
  EXPECT_EQ(engine->wait(), 0U);
  EXPECT_GT(other.calls, 0);
  // A file's completion is waited for all the same.
  const std::unique_ptr<Storage> storage = open_disk();
  VARVE_EXPECT_OK(write(*storage, 0, pattern(4096, 3)));
  engine->remove_source(source);
  engine->remove_source(other);
  engine->remove_source(other);
}

TEST_P(EngineSuite, ASourceMayLeaveWhileSourcesRun) {
  struct Leaver : Engine::Source {
    std::size_t advance() noexcept override {
      engine->remove_source(*this);
      if (victim != nullptr) {
        engine->remove_source(*victim);
      }
      return 0;
    }
    Engine* engine = nullptr;
    Engine::Source* victim = nullptr;
  };
  TestSource stays;
  stays.engine = engine.get();
  TestSource leaves;
  leaves.engine = engine.get();
  Leaver leaver;
  leaver.engine = engine.get();
  leaver.victim = &leaves;
  engine->add_source(stays);
  engine->add_source(leaves);
  engine->add_source(leaver);
  engine->poll();
  engine->poll();
  EXPECT_EQ(leaves.calls, 0);
  EXPECT_EQ(stays.calls, 2);
  engine->remove_source(stays);
}

TEST_P(EngineSuite, ACallbackMayDestroyStorages) {
  struct Holder : Io {
    std::unique_ptr<Storage> own;
    std::unique_ptr<Storage> other;
  } holder;
  holder.own = open_disk();
  FileOptions options;
  options.writable = true;
  options.create = true;
  holder.other = std::move(*open_file(*engine, folder.file("other"), options));
  VARVE_ASSERT_OK(write(*holder.other, 0, pattern(100, 4)));
  holder.operation = StorageOperation::flush;
  holder.complete = [](StorageRequest& request, const Result<void>& result) {
    auto& self = static_cast<Holder&>(request);
    self.own.reset();
    self.other.reset();
    self.result = result;
  };
  holder.own->submit(holder);
  while (!holder.result.has_value()) {
    engine->wait();
  }
  EXPECT_EQ(engine->poll(), 0U);
}

TEST_P(EngineSuite, ACallbackMayWaitForAnotherRequest) {
  const std::unique_ptr<Storage> storage = open_disk();
  struct Nested : StorageRequest {
    Storage* storage = nullptr;
    bool done = false;
  } nested;
  nested.storage = storage.get();
  nested.operation = StorageOperation::flush;
  nested.complete = [](StorageRequest& request, const Result<void>&) {
    auto& self = static_cast<Nested&>(request);
    VARVE_EXPECT_OK(write(*self.storage, 0, pattern(4096, 5)));
    self.done = true;
  };
  storage->submit(nested);
  while (!nested.done) {
    engine->wait();
  }
}

// History: 8f5e9a8ee1.
TEST_P(EngineSuite, FilesComeAndGo) {
  // More than the ring's table of files holds, a few at a time.
  FileOptions options;
  options.writable = true;
  options.create = true;
  options.truncate = true;
  options.fsync = false;
  for (int i = 0; i < 600; ++i) {
    const std::unique_ptr<Storage> storage =
        std::move(*open_file(*engine, folder.file("disk"), options));
    VARVE_ASSERT_OK(write(*storage, 0, pattern(100, 6)));
  }
  std::vector<std::unique_ptr<Storage>> many;
  for (int i = 0; i < 300; ++i) {
    many.push_back(std::move(*open_file(*engine, folder.file(std::to_string(i)), options)));
  }
  for (const auto& storage : many) {
    VARVE_ASSERT_OK(write(*storage, 10, pattern(100, 7)));
    EXPECT_EQ(read(*storage, 10, 100), pattern(100, 7));
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, EngineSuite,
                         ::testing::Values(AioBackend::io_uring, AioBackend::threads),
                         [](const auto& parameter) {
                           return parameter.param == AioBackend::threads ? "threads" : "uring";
                         });

}  // namespace
}  // namespace varve::test
