// What stands behind the handles of the C interface.
//
// A handle counts the handles made from it, so that closing in the wrong order is an error and not
// a crash. Threads: the engine's.
#pragma once

#include <cstddef>
#include <memory>

#include <varve/engine.h>
#include <varve/image.h>
#include <varve/varve.h>

#include "capi/fork_mark.h"

struct varve_engine {
  std::unique_ptr<varve::Engine> engine;
  varve::capi::ForkMark mark;
  std::size_t handles = 0;  // Storages and images that are open.
  unsigned callbacks = 0;   // Callbacks that are running and may not block.
  void (*log)(void* owner, uint32_t level, const char* text) = nullptr;
  void* log_owner = nullptr;
};

struct varve_image {
  varve_engine* engine = nullptr;
  std::unique_ptr<varve::Image> image;
  varve_image* parent = nullptr;  // An image of a snapshot: the image it is of.
  std::size_t handles = 0;        // Made from it and open.
  varve::ImageFacts facts;        // Keeps the texts of varve_image_get_facts.
};

struct varve_storage {
  varve_engine* engine = nullptr;
  std::unique_ptr<varve::Storage> storage;
};

namespace varve::capi {

// Counts a handle on what it depends on, for as long as it lives.
template <class Owner>
class Counted {
 public:
  explicit Counted(Owner& owner) noexcept : owner_(&owner) { ++owner.handles; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --owner_->handles; }
  [[nodiscard]] Owner& owner() const noexcept { return *owner_; }

 private:
  Owner* owner_;
};

// A callback that may not block is running.
class CallbackScope {
 public:
  explicit CallbackScope(varve_engine& engine) noexcept : engine_(&engine) { ++engine.callbacks; }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;
  ~CallbackScope() { --engine_->callbacks; }

 private:
  varve_engine* engine_;
};

}  // namespace varve::capi
