// The options of -o for a new image, with qemu-img's names, checks and words; shared by create and
// convert.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <varve/create.h>

#include "options.h"

namespace varve::tool {

// The values of -o, by name, in the form they are printed.
class CreateValues {
 public:
  // `format` is "raw" or "qcow2".
  explicit CreateValues(std::string format) : format_(std::move(format)) {}

  // Adds what -o gave. False with the reason: an unknown name, or a value of the wrong kind.
  [[nodiscard]] bool add(const KeyValueList& list, std::string& reason);

  [[nodiscard]] std::optional<std::string> find(std::string_view name) const;
  void set(const std::string& name, std::string value) { values_[name] = std::move(value); }
  void set_default(const std::string& name, std::string value) {
    values_.emplace(name, std::move(value));
  }

  // " cluster_size=65536 ...": what follows "fmt=qcow2" in qemu-img's line about a new image.
  [[nodiscard]] std::string listing() const;

  // The library's options; nothing, with the reason in qemu-img's words, when they contradict each
  // other or are not supported.
  [[nodiscard]] std::optional<CreateOptions> to_options(std::string& reason) const;

 private:
  [[nodiscard]] bool to_qcow2(CreateOptions& options, std::string& reason) const;
  [[nodiscard]] bool check_version_2(std::string& reason) const;
  [[nodiscard]] bool check_combinations(const CreateOptions& options, std::string& reason) const;
  std::string format_;
  std::map<std::string, std::string> values_;
};

// The answer to `-o help`. With `protocol`, the file's own options are in the list.
void print_create_help(const std::string& format, bool protocol);

// What to say when create_image fails for `path`.
[[nodiscard]] std::string create_words(const Error& error, const std::string& path,
                                       const std::string& format);

}  // namespace varve::tool
