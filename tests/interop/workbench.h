// One case of the matrix set up in a folder of its own: its files, what they must hold, and both
// programs' hands on them.
//
// Threads: the test's. Every step that fails adds a gtest failure naming the program and its words.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <varve/engine.h>
#include <varve/image.h>

#include "interop/matrix.h"
#include "interop/peer.h"
#include "interop/script.h"

namespace varve::interop {

class Workbench {
 public:
  explicit Workbench(const Case& example);

  [[nodiscard]] const Case& example() const { return example_; }
  [[nodiscard]] Engine& engine() { return *engine_; }
  [[nodiscard]] std::string image_path() const { return folder_.file("image.qcow2"); }
  [[nodiscard]] std::string path(const std::string& name) const { return folder_.file(name); }

  void create_by_varve();
  void create_by(const Peer& peer);

  [[nodiscard]] std::unique_ptr<Image> open(bool writable);
  // Takes the steps and closes the image.
  void run_by_varve(const Script& script);
  void run_on(Image& image, const Script& script);
  void run_by(const Peer& peer, const Script& script);

  // A file of the pattern, for qemu-io's write -s.
  [[nodiscard]] std::string pattern_file(unsigned seed);

  // Both opinions: clean, and exactly this content.
  void expect_by_varve(const Content& content);
  void expect_by(const Peer& peer, const Content& content);
  void expect_clean_by(const Peer& peer);
  void expect_clean(Image& image);
  static void expect_content(Image& image, const Content& content, std::string_view what = "");
  // What this snapshot holds, as the peer reads it.
  void expect_snapshot_by(const Peer& peer, const std::string& name, const Content& content);

 private:
  void write_file(const std::string& name, const Content& content);
  void make_backing();

  Case example_;
  model::TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
};

// Skips the test, or fails it under VARVE_REQUIRE, where no QEMU runs.
#define VARVE_NEED_PEERS()                             \
  do {                                                 \
    if (::varve::interop::peers().empty()) {           \
      VARVE_MISSING("qemu-img or qemu-io is missing"); \
    }                                                  \
  } while (false)

#define VARVE_EXPECT_OK(expression)                                          \
  do {                                                                       \
    const auto& varve_result = (expression);                                 \
    EXPECT_TRUE(varve_result.has_value())                                    \
        << (varve_result.has_value() ? "" : describe(varve_result.error())); \
  } while (false)

}  // namespace varve::interop
