// Result<T>: a value or an Error. Member names follow std::expected, so that it can become an alias
// once the supported compilers have that.
//
// Threads: a plain value. Never throws, never allocates; usable under -fno-exceptions.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <varve/error.h>

namespace varve {

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  using error_type = Error;

  // Implicit on purpose: `return value;` and `return Error{...};` are the two ways a function ends.
  Result(T value) noexcept : has_value_(true) { std::construct_at(&value_, std::move(value)); }
  Result(const Error& error) noexcept : has_value_(false) { std::construct_at(&error_, error); }

  Result(Result&& other) noexcept : has_value_(other.has_value_) { take(std::move(other)); }
  Result(const Result& other) noexcept requires std::is_copy_constructible_v<T>
      : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, other.value_);
    } else {
      std::construct_at(&error_, other.error_);
    }
  }
  Result& operator=(Result&& other) noexcept {
    if (this != &other) {
      destroy();
      has_value_ = other.has_value_;
      take(std::move(other));
    }
    return *this;
  }
  ~Result() { destroy(); }

  [[nodiscard]] bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }

  // REQUIRES: has_value(). Unchecked, as std::expected's operator*.
  T& operator*() & noexcept { return value_; }
  const T& operator*() const& noexcept { return value_; }
  T&& operator*() && noexcept { return std::move(value_); }
  T* operator->() noexcept { return &value_; }
  const T* operator->() const noexcept { return &value_; }
  T& value() & noexcept { return value_; }
  const T& value() const& noexcept { return value_; }
  T&& value() && noexcept { return std::move(value_); }

  // REQUIRES: !has_value().
  [[nodiscard]] const Error& error() const noexcept { return error_; }

 private:
  void take(Result&& other) noexcept {
    if (has_value_) {
      std::construct_at(&value_, std::move(other.value_));
    } else {
      std::construct_at(&error_, other.error_);
    }
  }
  void destroy() noexcept {
    if (has_value_) {
      std::destroy_at(&value_);
    }
  }

  union {
    T value_;
    Error error_;
  };
  bool has_value_;
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  using error_type = Error;

  Result() noexcept : has_value_(true) {}
  Result(const Error& error) noexcept : error_(error), has_value_(false) {}

  // Success is passed on all the time: only a failure copies the error.
  Result(const Result& other) noexcept : has_value_(other.has_value_) { take(other); }
  Result& operator=(const Result& other) noexcept {
    has_value_ = other.has_value_;
    take(other);
    return *this;
  }
  ~Result() = default;

  [[nodiscard]] bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }
  void value() const noexcept {}

  // REQUIRES: !has_value().
  [[nodiscard]] const Error& error() const noexcept { return error_; }

 private:
  void take(const Result& other) noexcept {
    if (!has_value_ && this != &other) {
      std::construct_at(&error_, other.error_);
    }
  }

  union {
    Error error_;
  };
  bool has_value_;
};

}  // namespace varve
