// Command lines as qemu-img reads them: getopt_long with abbreviated long options, and lists of
// key=value pairs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <getopt.h>

#include "context.h"

namespace varve::tool {

// Values of long options that have no letter.
enum LongOption : int {
  kOptionObject = 256,
  kOptionOutput,
  kOptionImageOpts,
  kOptionTargetImageOpts,
  kOptionBackingChain,
  kOptionFlushInterval,
  kOptionPattern,
  kOptionNoDrain,
  kOptionPreallocation,
  kOptionShrink,
  kOptionSalvage,
  kOptionTargetIsZero,
  kOptionBitmaps,
  kOptionSkipBroken,
  kOptionOrder,
  kOptionJson,
  kOptionUntrusted,
  kOptionNoBudget,
  kOptionMaxOutput,
};

// Rows that the tables of several verbs share; a table ends with kEndOfOptions.
inline constexpr option kHelpOption = {"help", no_argument, nullptr, 'h'};
inline constexpr option kQuietOption = {"quiet", no_argument, nullptr, 'q'};
inline constexpr option kProgressOption = {"progress", no_argument, nullptr, 'p'};
inline constexpr option kObjectOption = {"object", required_argument, nullptr, kOptionObject};
inline constexpr option kFormatOption = {"format", required_argument, nullptr, 'f'};
inline constexpr option kOutputOption = {"output", required_argument, nullptr, kOptionOutput};
inline constexpr option kImageOptsOption = {"image-opts", no_argument, nullptr, kOptionImageOpts};
inline constexpr option kForceShareOption = {"force-share", no_argument, nullptr, 'U'};
inline constexpr option kUntrustedOption = {"untrusted", no_argument, nullptr, kOptionUntrusted};
inline constexpr option kNoBudgetOption = {"no-budget", no_argument, nullptr, kOptionNoBudget};
inline constexpr option kEndOfOptions = {nullptr, 0, nullptr, 0};

// One pass over a verb's arguments. The C library prints its own complaints, prefixed
// "PROGRAM VERB".
class OptionParser {
 public:
  // `long_options` ends with an entry of nulls and lives as long as the parser.
  OptionParser(const Context& context, std::string_view verb, int argc, char** argv,
               const char* letters, const option* long_options);
  OptionParser(const OptionParser&) = delete;
  OptionParser& operator=(const OptionParser&) = delete;

  // The next option's letter or LongOption; -1 at the end; '?' after a complaint was printed. A bad
  // --object ends the program here.
  int next();

  [[nodiscard]] const char* value() const;

  // The argument that is looked at next, empty at the end; take() takes it off.
  [[nodiscard]] std::string_view peek() const;
  const char* take();

  // What is left after the options. Valid once next() has answered -1.
  [[nodiscard]] std::vector<std::string> operands() const;

 private:
  const Context& context_;
  std::string name_;
  std::vector<char*> arguments_;
  const char* letters_;
  const option* long_options_;
};

// Ends the program with a message where qemu-img would not take the argument of --object.
void refuse_bad_object(const Context& context, std::string_view definition);

using KeyValueList = std::vector<std::pair<std::string, std::string>>;

// Splits "a=1,b=2,,3,flag,noflag": a doubled comma stands for one, a bare word is "on", one that
// begins with "no" is "off". With `implied_key` a first word without '=' is that key's value.
[[nodiscard]] KeyValueList parse_key_values(std::string_view text,
                                            std::string_view implied_key = {});

// Whether qemu-img takes `text` as an argument of -o: not empty, no comma at either end.
[[nodiscard]] bool is_option_list(std::string_view text);

// Whether `text` asks for the list of options ("help" or "?").
[[nodiscard]] bool asks_for_help(const KeyValueList& list);

// The last value of `key`.
[[nodiscard]] std::optional<std::string> find_value(const KeyValueList& list, std::string_view key);

// How images are cached, as -t and -T name it.
struct CacheMode {
  bool direct = false;         // Past the page cache.
  bool flush_ignored = false;  // Flushes succeed without asking the system.
  bool write_through = false;  // Every write is durable when it completes.
};
[[nodiscard]] std::optional<CacheMode> parse_cache_mode(std::string_view text);

// A number for an option, as qemu-img takes sizes: prints "Invalid WHAT specified ..." and answers
// nothing when `text` is malformed or outside [minimum, maximum].
[[nodiscard]] std::optional<std::uint64_t> parse_number(const Context& context,
                                                        std::string_view what,
                                                        const std::string& text,
                                                        std::uint64_t minimum,
                                                        std::uint64_t maximum);

inline constexpr std::uint64_t kNumberMax = 9223372036854775807u;

// --output=human|json. False after a message.
[[nodiscard]] bool parse_output(const Context& context, std::string_view verb,
                                const std::string& text, bool& json);

}  // namespace varve::tool
