// Goal: whatever bytes come over the control socket, they are a command, or a problem, and never
// more. Method: every command and answer goes there and back; then commands are damaged, and
// random bytes are read, from a seed.
#include "control/protocol.h"

#include <gtest/gtest.h>

#include "sim/random.h"

namespace varve::control {
namespace {

std::string problem_of_command(std::string_view line) {
  const auto parsed = parse_command(line);
  const auto* problem = std::get_if<Problem>(&parsed);
  return problem == nullptr ? "" : problem->message;
}

std::vector<Command> all_commands() {
  return {{Verb::create, "before the \"upgrade\"\n"},
          {Verb::apply, "1"},
          {Verb::remove, "\xc3\xa4\xe2\x82\xac"},
          {Verb::list, ""},
          {Verb::status, ""}};
}

std::vector<Answer> all_answers() {
  const Listed one{"1",      "a\nb", "7f1d2c3e-0000-4000-8000-000000000001", "", 1700000000,
                   1u << 30, 5};
  const Status status{"disk.qcow2", 1, 2, 3, 9, 4, 5, ~std::uint64_t{0}, "create", 7, 8};
  return {Problem{"busy", "another"}, Done{"1", "uuid", 12, 34}, std::vector<Listed>{},
          std::vector<Listed>{one, one}, status};
}

TEST(Protocol, CommandsGoThereAndBack) {
  for (const Command& command : all_commands()) {
    const std::string line = format_command(command);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto parsed = parse_command(line);
    ASSERT_TRUE(std::holds_alternative<Command>(parsed)) << line;
    EXPECT_EQ(std::get<Command>(parsed), command);
  }
}

TEST(Protocol, AnswersGoThereAndBack) {
  for (const Answer& answer : all_answers()) {
    const std::string line = format_answer(answer);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_EQ(parse_answer(line), answer) << line;
  }
}

TEST(Protocol, NamesThatAreNoUtf8AreTold) {
  Listed listed;
  listed.name = "\xff\xfe";
  const Answer read = parse_answer(format_answer(std::vector<Listed>{listed}));
  ASSERT_TRUE(std::holds_alternative<std::vector<Listed>>(read));
  EXPECT_EQ(std::get<std::vector<Listed>>(read).front().name, "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Protocol, RefusesWhatIsNoCommand) {
  const std::string no_object = "a command is a JSON object on one line, each key once";
  for (const char* line :
       {"", "x", "[]", "1", "\"list\"", "null", "{\"command\":\"list\"",
        "{\"command\":\"list\"} {}", "{\"command\":\"list\",\"command\":\"list\"}",
        "{\"command\":\"\xff\"}"}) {
    EXPECT_EQ(problem_of_command(line), no_object) << line;
  }
  EXPECT_EQ(problem_of_command("{}"), "the key \"command\" is missing");
  EXPECT_EQ(problem_of_command(R"({"command":1})"), "the values of a command are strings");
  EXPECT_EQ(problem_of_command(R"({"command":{"command":"list"}})"),
            "the values of a command are strings");
  EXPECT_EQ(problem_of_command(R"({"command":"remove"})"), "there is no such command");
  EXPECT_EQ(problem_of_command(R"({"command":"list","file":"/etc/passwd"})"),
            "a command has no such key");
  EXPECT_EQ(problem_of_command(R"({"command":"list","snapshot":"1"})"),
            "this command takes no snapshot");
  for (const char* line : {R"({"command":"create"})", R"({"command":"delete","snapshot":""})"}) {
    EXPECT_EQ(problem_of_command(line), "this command needs the key \"snapshot\"") << line;
  }
}

TEST(Protocol, RefusesLongLinesUnread) {
  const std::string name(kCommandBytesMax, 'a');
  EXPECT_EQ(problem_of_command(format_command({Verb::create, name})), "the command is too long");
  EXPECT_EQ(problem_of_command(std::string(kCommandBytesMax, '[')),
            "a command is a JSON object on one line, each key once");
}

TEST(Protocol, RefusesWhatIsNoAnswer) {
  for (const char* line : {"", "{}", "[]", R"({"done":{}})", R"({"done":1})", R"({"list":{}})",
                           R"({"list":[1]})", R"({"error":{"code":1,"message":""}})",
                           R"({"done":{"id":"","uuid":"","pause-ns":-1,"total-ns":0}})",
                           R"({"error":{"code":"","message":""},"list":[]})"}) {
    EXPECT_EQ(parse_answer(line),
              Answer(Problem{"invalid_argument", "the answer is not understood"}))
        << line;
  }
}

// What is understood is exactly what would have been said for it.
void expect_sane(std::string_view line) {
  const auto parsed = parse_command(line);
  if (const auto* command = std::get_if<Command>(&parsed)) {
    EXPECT_EQ(names_a_snapshot(command->verb), !command->snapshot.empty());
    EXPECT_EQ(parse_command(format_command(*command)), parsed);
  } else {
    EXPECT_FALSE(std::get<Problem>(parsed).message.empty());
  }
  static_cast<void>(parse_answer(line));
}

TEST(Protocol, DamagedLinesAreRefusedOrSane) {
  const std::uint64_t seed = sim::seed_from_environment();
  std::printf("VARVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  sim::Random random(seed);
  std::vector<std::string> lines;
  for (const Command& command : all_commands()) {
    lines.push_back(format_command(command));
  }
  for (const Answer& answer : all_answers()) {
    lines.push_back(format_answer(answer));
  }
  for (unsigned turn = 0; turn < 4000; ++turn) {
    std::string line = random.pick(lines);
    for (std::uint64_t damage = random.between(1, 3); damage != 0; --damage) {
      const std::size_t at = random.below(line.size());
      switch (random.below(4)) {
        case 0:
          line[at] = static_cast<char>(random.below(256));
          break;
        case 1:
          line.erase(at, random.between(1, 5));
          break;
        case 2:
          line.insert(at, random.pick(lines).substr(0, random.below(30)));
          break;
        default:
          line.insert(at, 1, "{}[]\":,\\u0"[random.below(10)]);
          break;
      }
      line += line.empty() ? "{" : "";
    }
    expect_sane(line);
    std::string noise(random.below(64), ' ');
    for (char& byte : noise) {
      byte = static_cast<char>(random.below(256));
    }
    expect_sane(noise);
  }
}

}  // namespace
}  // namespace varve::control
