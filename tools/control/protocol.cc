#include "control/protocol.h"

#include <array>
#include <exception>
#include <stdexcept>
#include <tuple>

#include <nlohmann/json.hpp>

namespace varve::control {

namespace {

using Json = nlohmann::ordered_json;

struct VerbName {
  Verb verb;
  const char* name;
};
constexpr std::array<VerbName, 5> kVerbs = {{{Verb::create, "create"},
                                             {Verb::apply, "apply"},
                                             {Verb::remove, "delete"},
                                             {Verb::list, "list"},
                                             {Verb::status, "status"}}};

Problem bad(std::string message) {
  return {error_code_name(ErrorCode::invalid_argument), std::move(message)};
}

// One line: names may hold anything, and what is no UTF-8 in them is replaced.
std::string line_of(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// An object, each of whose keys stands there once; or nothing.
std::optional<Json> parse_object(std::string_view line) {
  std::size_t keys = 0;
  const auto count_keys = [&keys](int depth, Json::parse_event_t event, Json&) {
    keys += depth == 1 && event == Json::parse_event_t::key ? 1 : 0;
    return true;
  };
  Json value = Json::parse(line.begin(), line.end(), count_keys, false);
  if (!value.is_object() || value.size() != keys) {
    return std::nullopt;
  }
  return value;
}

std::variant<Problem, Command> read_command(std::string_view line) {
  if (line.size() > kCommandBytesMax) {
    return bad("the command is too long");
  }
  const std::optional<Json> object = parse_object(line);
  if (!object) {
    return bad("a command is a JSON object on one line, each key once");
  }
  Command command;
  std::optional<Verb> verb;
  bool has_snapshot = false;
  for (const auto& [key, value] : object->items()) {
    if (!value.is_string()) {
      return bad("the values of a command are strings");
    }
    const auto& text = value.get_ref<const std::string&>();
    if (key == "command") {
      verb = find_verb(text);
      if (!verb) {
        return bad("there is no such command");
      }
    } else if (key == "snapshot") {
      has_snapshot = true;
      command.snapshot = text;
    } else {
      return bad("a command has no such key");
    }
  }
  if (!verb) {
    return bad("the key \"command\" is missing");
  }
  command.verb = *verb;
  if (has_snapshot != names_a_snapshot(*verb) || (has_snapshot && command.snapshot.empty())) {
    return bad(names_a_snapshot(*verb) ? "this command needs the key \"snapshot\""
                                       : "this command takes no snapshot");
  }
  return command;
}

// --- answers: each structure's fields, for writing and reading -----------------------------------

template <class T, class Value>
struct Field {
  const char* key;
  Value T::*member;
};
template <class T, class Value>
Field(const char*, Value T::*) -> Field<T, Value>;

constexpr auto fields_of(const Problem&) {
  return std::tuple(Field{"code", &Problem::code}, Field{"message", &Problem::message});
}

constexpr auto fields_of(const Done&) {
  return std::tuple(Field{"id", &Done::id}, Field{"uuid", &Done::uuid},
                    Field{"pause-ns", &Done::pause}, Field{"total-ns", &Done::total});
}

constexpr auto fields_of(const Listed&) {
  return std::tuple(Field{"id", &Listed::id}, Field{"name", &Listed::name},
                    Field{"uuid", &Listed::uuid}, Field{"parent", &Listed::parent},
                    Field{"date", &Listed::date_seconds}, Field{"disk-size", &Listed::disk_bytes},
                    Field{"vm-state-size", &Listed::state_bytes});
}

constexpr auto fields_of(const Status&) {
  return std::tuple(Field{"file", &Status::file}, Field{"disk-size", &Status::disk_bytes},
                    Field{"file-size", &Status::file_bytes}, Field{"snapshots", &Status::snapshots},
                    Field{"clients", &Status::clients}, Field{"reads", &Status::reads},
                    Field{"writes", &Status::writes}, Field{"flushes", &Status::flushes},
                    Field{"operation", &Status::operation},
                    Field{"clusters-done", &Status::clusters_done},
                    Field{"clusters-total", &Status::clusters_total});
}

// Throw where a value is of another kind.
void read_value(const Json& from, std::string& value) {
  value = from.get_ref<const std::string&>();
}
void read_value(const Json& from, std::uint64_t& value) {
  if (!from.is_number_unsigned()) {
    throw std::invalid_argument("number");
  }
  value = from.get<std::uint64_t>();
}

Json object_of(const auto& value) {
  Json object = Json::object();
  std::apply([&](const auto&... field) { ((object[field.key] = value.*field.member), ...); },
             fields_of(value));
  return object;
}

Json object_of(const std::vector<Listed>& list) {
  Json array = Json::array();
  for (const Listed& one : list) {
    array.push_back(object_of(one));
  }
  return array;
}

// Throws where a field is missing or of another kind.
template <class T>
T value_of(const Json& object) {
  T value;
  std::apply(
      [&](const auto&... field) { (read_value(object.at(field.key), value.*field.member), ...); },
      fields_of(value));
  return value;
}

// The key that tells which kind of answer it is.
constexpr std::array<const char*, 4> kKinds = {"error", "done", "list", "status"};

Answer read_answer(std::string_view line) {
  const std::optional<Json> object = parse_object(line);
  if (!object || object->size() != 1) {
    throw std::invalid_argument("answer");
  }
  const Json& value = object->front();
  const std::string kind = object->begin().key();
  if (kind == kKinds[0]) {
    return value_of<Problem>(value);
  }
  if (kind == kKinds[1]) {
    return value_of<Done>(value);
  }
  if (kind == kKinds[3]) {
    return value_of<Status>(value);
  }
  std::vector<Listed> list;
  for (const Json& one : object->at(kKinds[2]).get_ref<const Json::array_t&>()) {
    list.push_back(value_of<Listed>(one));
  }
  return list;
}

}  // namespace

std::variant<Problem, Command> parse_command(std::string_view line) noexcept {
  try {
    return read_command(line);
  } catch (const std::exception&) {
    return Problem{error_code_name(ErrorCode::no_memory), ""};
  }
}

std::string format_command(const Command& command) {
  Json object = Json::object();
  object["command"] = verb_name(command.verb);
  if (names_a_snapshot(command.verb)) {
    object["snapshot"] = command.snapshot;
  }
  return line_of(object);
}

Answer parse_answer(std::string_view line) noexcept {
  try {
    return read_answer(line);
  } catch (const std::exception&) {
    return bad("the answer is not understood");
  }
}

std::string format_answer(const Answer& answer) {
  Json object = Json::object();
  std::visit([&](const auto& value) { object[kKinds[answer.index()]] = object_of(value); }, answer);
  return line_of(object);
}

const char* verb_name(Verb verb) noexcept {
  for (const VerbName& one : kVerbs) {
    if (one.verb == verb) {
      return one.name;
    }
  }
  return "";
}

std::optional<Verb> find_verb(std::string_view name) noexcept {
  for (const VerbName& one : kVerbs) {
    if (one.name == name) {
      return one.verb;
    }
  }
  return std::nullopt;
}

bool names_a_snapshot(Verb verb) noexcept {
  return verb == Verb::create || verb == Verb::apply || verb == Verb::remove;
}

Problem problem_of(const Error& error) {
  return {error_code_name(error.code), describe(error)};
}

Listed listed_of(const SnapshotInfo& snapshot) {
  const auto text_of = [](const Uuid& uuid) {
    return uuid.is_null() ? std::string() : std::string(uuid.text());
  };
  Listed listed;
  listed.id = snapshot.id;
  listed.name = snapshot.name;
  listed.uuid = text_of(snapshot.uuid);
  listed.parent = text_of(snapshot.parent);
  listed.date_seconds = snapshot.date_seconds;
  listed.disk_bytes = snapshot.disk_size;
  listed.state_bytes = snapshot.vm_state_size;
  return listed;
}

}  // namespace varve::control
