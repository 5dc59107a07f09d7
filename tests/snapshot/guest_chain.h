// A guest that writes cluster after cluster of an image, each request submitted from the completion
// of the one before, and flushes now and then: it goes on while others run the engine. It knows
// what a power cut at any moment may leave of its writes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <varve/image.h>

#include "base/bytes.h"
#include "io/io_fixture.h"
#include "sim/crash_disk.h"

namespace varve::test {

class GuestChain {
 public:
  static constexpr std::uint64_t kClusterBytes = 4096;
  static constexpr std::uint64_t kClusters = 12;
  static constexpr std::uint64_t kBytes = kClusters * kClusterBytes;
  static constexpr unsigned kFlushEvery = 5;

  // What stands at each cluster as requests come and go: positions in the values it had.
  struct Span {
    std::size_t low = 0;
    std::size_t high = 0;
  };

  // The first kBytes of the disk hold `first` everywhere, durable. `clock` answers a new moment;
  // it is asked at each completion.
  GuestChain(std::byte first, std::function<sim::Moment()> clock)
      : clock_(std::move(clock)), histories_(kClusters, {{first, 0, 0, 0}}) {
    request_.owner = this;
    request_.complete = [](BlockRequest& request, const Result<void>& result) {
      static_cast<GuestChain*>(request.owner)->completed(result);
    };
  }
  GuestChain(const GuestChain&) = delete;
  GuestChain& operator=(const GuestChain&) = delete;

  void start(Image& image) {
    image_ = &image;
    is_stopping_ = false;
    submit();
  }
  // Ends after the request under way; runs the engine.
  void stop(Engine& engine) {
    is_stopping_ = true;
    while (is_running_) {
      engine.wait();
    }
  }
  [[nodiscard]] const Result<void>& result() const noexcept { return result_; }
  [[nodiscard]] std::size_t writes() const noexcept { return writes_; }

  // What a snapshot frozen now may show.
  [[nodiscard]] std::vector<Span> frozen_now() const {
    std::vector<Span> spans;
    for (const History& history : histories_) {
      spans.push_back(
          {history.size() - (history.back().completed == kNever ? 2 : 1), history.size() - 1});
    }
    return spans;
  }
  // What a cut at `moment` may leave of the disk.
  [[nodiscard]] std::vector<Span> left_at(sim::Moment moment) const {
    std::vector<Span> spans;
    for (const History& history : histories_) {
      Span span;
      for (std::size_t i = 0; i < history.size(); ++i) {
        span.low = history[i].durable <= moment ? i : span.low;
        span.high = history[i].submitted <= moment ? i : span.high;
      }
      spans.push_back(span);
    }
    return spans;
  }
  // Where `image` shows what it may not, sector by sector; empty: nowhere.
  [[nodiscard]] std::string judge(Image& image, const std::vector<Span>& spans) const {
    ByteVector bytes(kBytes);
    if (const Result<void> read = image.read(0, bytes); !read) {
      return describe(read.error());
    }
    for (std::size_t at = 0; at < bytes.size(); at += 512) {
      const ByteVector sector(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                              bytes.begin() + static_cast<std::ptrdiff_t>(at + 512));
      const std::size_t cluster = at / kClusterBytes;
      bool is_good = false;
      for (std::size_t i = spans[cluster].low; i <= spans[cluster].high; ++i) {
        is_good = is_good || sector == ByteVector(512, histories_[cluster][i].value);
      }
      if (!is_good) {
        return "sector " + std::to_string(at / 512) + " shows " +
               std::to_string(std::to_integer<int>(sector[0])) + "...";
      }
    }
    return "";
  }

 private:
  static constexpr sim::Moment kNever = ~sim::Moment{0};
  struct Value {
    std::byte value{};
    sim::Moment submitted = 0;
    sim::Moment completed = kNever;
    sim::Moment durable = kNever;
  };
  using History = std::vector<Value>;

  void submit() {
    is_flushing_ = writes_ % kFlushEvery == kFlushEvery - 1 && !was_flushed_;
    was_flushed_ = is_flushing_;
    is_running_ = true;
    const sim::Moment now = clock_();
    request_.operation = is_flushing_ ? BlockOperation::flush : BlockOperation::write;
    request_.offset = request_.length = request_.vector_count = 0;
    if (is_flushing_) {
      flush_began_ = now;
    } else {
      cluster_ = writes_++ * 7 % kClusters;
      const auto value = static_cast<std::byte>(64 + writes_ % 191);
      histories_[cluster_].push_back({value, now});
      bytes_.assign(kClusterBytes, value);
      vector_ = {bytes_.data(), bytes_.size()};
      request_.offset = cluster_ * kClusterBytes;
      request_.length = kClusterBytes;
      request_.vectors = &vector_;
      request_.vector_count = 1;
    }
    image_->submit(request_);
  }
  void completed(const Result<void>& result) {
    is_running_ = false;
    const sim::Moment now = clock_();
    result_ = result_ ? result : result_;
    if (!result) {
      return;
    }
    if (is_flushing_) {
      for (History& history : histories_) {
        for (Value& value : history) {
          value.durable =
              value.completed <= flush_began_ ? std::min(value.durable, now) : value.durable;
        }
      }
    } else {
      histories_[cluster_].back().completed = now;
    }
    if (!is_stopping_) {
      submit();
    }
  }

  std::function<sim::Moment()> clock_;
  std::vector<History> histories_;
  Image* image_ = nullptr;
  BlockRequest request_;
  IoVector vector_;
  ByteVector bytes_;
  Result<void> result_;
  std::size_t writes_ = 0;
  std::size_t cluster_ = 0;
  sim::Moment flush_began_ = 0;
  bool is_flushing_ = false;
  bool was_flushed_ = false;
  bool is_stopping_ = false;
  bool is_running_ = false;
};

}  // namespace varve::test
