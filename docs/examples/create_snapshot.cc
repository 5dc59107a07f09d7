// Taking a snapshot the way a management client does: the steps of the sample on the reference page
// of CreateSnapshot, against Varve's service in the same process.
//
// Usage: create_snapshot [asynchronous | synchronous]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>

#include <varve/create.h>
#include <varve/engine.h>
#include <varve/service.h>

namespace {

using varve::AffectedElement;
using varve::JobState;
using varve::SnapshotServices;
using varve::SystemDescription;

[[noreturn]] void fail(const char* what, const varve::Error& error) {
  std::fprintf(stderr, "%s: %s\n", what, varve::describe(error).c_str());
  std::exit(1);
}

template <class T>
T must(varve::Result<T> result, const char* what) {
  if (!result) {
    fail(what, result.error());
  }
  return std::move(*result);
}

// --- the hypervisor's side -----------------------------------------------------------------------

// A folder with two disks for the virtual machine of this example.
class Disks {
 public:
  Disks() {
    std::string name = (std::filesystem::temp_directory_path() / "varve-example-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      std::perror("mkdtemp");
      std::exit(1);
    }
    folder_ = name;
    const auto engine = must(varve::Engine::create(), "the engine");
    for (const std::string& path : paths()) {
      varve::CreateOptions options;
      options.size_bytes = 64u << 20;
      if (const auto made = varve::create_image(*engine, path, options); !made) {
        fail("creating a disk", made.error());
      }
    }
  }
  ~Disks() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Disks(const Disks&) = delete;
  Disks& operator=(const Disks&) = delete;
  [[nodiscard]] std::vector<std::string> paths() const {
    return {folder_ / "system.qcow2", folder_ / "data.qcow2"};
  }

 private:
  std::filesystem::path folder_;
};

std::unique_ptr<SnapshotServices> start_services(const Disks& disks, bool synchronous) {
  varve::ServiceOptions options;
  options.own_thread = true;  // Jobs run on a thread of the service.
  options.synchronous = synchronous;
  auto services = must(SnapshotServices::create(options), "the services");

  varve::SystemDefinition vm;
  vm.id = varve::Uuid::make_random();
  vm.element_name = "VirtualMachine1";
  for (const std::string& path : disks.paths()) {
    varve::DiskDefinition disk;
    disk.path = path;
    disk.options.writable = true;
    vm.disks.push_back(disk);
  }
  must(services->define_system(vm), "defining the virtual machine");
  return services;
}

// --- the client's side, step by step -------------------------------------------------------------

// The virtual machine by its ElementName, as the sample's GetTargetComputer does.
std::string find_system(const SnapshotServices& services, std::string_view element_name) {
  for (const SystemDescription& system : must(services.systems(), "the systems")) {
    if (system.element_name == element_name) {
      return system.path;
    }
  }
  std::fprintf(stderr, "there is no virtual machine of this name\n");
  std::exit(1);
}

// Waits as long as the job starts or runs. True: it completed.
bool wait_for_job(const SnapshotServices& services, const std::string& job_path) {
  auto job = must(services.job(job_path), "the job");
  while (job.job_state == JobState::starting || job.job_state == JobState::running) {
    std::printf("In progress... %u%% completed.\n", job.percent_complete);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    job = must(services.job(job_path), "the job");
  }
  if (job.job_state != JobState::completed) {
    std::printf("Error code: %u\nError description: %s\n", job.error_code,
                job.error_description.c_str());
    return false;
  }
  return true;
}

// The snapshot a job made: its affected element.
std::string affected_element(const SnapshotServices& services, const std::string& job_path) {
  const auto elements = must(services.affected_elements(job_path), "the affected elements");
  if (elements.size() != 1) {
    std::fprintf(stderr, "the job tells %zu elements\n", elements.size());
    std::exit(1);
  }
  return elements.front().path;
}

// Empty: it failed, and why was printed.
std::string create_snapshot(SnapshotServices& services, std::string_view element_name) {
  const std::string system = find_system(services, element_name);
  constexpr std::uint16_t kFull = 2;
  constexpr std::string_view kDefaultSettings;
  constexpr std::uint32_t kCompleted = 0;
  constexpr std::uint32_t kStarted = 4096;

  std::string snapshot;
  std::string job;
  const std::uint32_t code =
      services.virtual_system().create_snapshot(system, kDefaultSettings, kFull, snapshot, job);
  switch (code) {
    case kStarted:
      if (!wait_for_job(services, job)) {
        std::printf("Failed to create the snapshot.\n");
        return "";
      }
      std::printf("Snapshot was created successfully.\n");
      return affected_element(services, job);
    case kCompleted:
      std::printf("Snapshot was created successfully.\n");
      return snapshot;
    default:
      std::printf("Create snapshot failed with error %u: %s\n", code,
                  varve::method_code_text(code));
      return "";
  }
}

}  // namespace

int main(int count, char** arguments) {
  const std::string_view mode = count > 1 ? arguments[1] : "asynchronous";
  const Disks disks;
  const auto services = start_services(disks, mode == "synchronous");
  const std::string path = create_snapshot(*services, "VirtualMachine1");
  if (path.empty()) {
    return 1;
  }
  const auto snapshot = must(services->snapshot(path), "the snapshot");
  std::printf("%s\n%s\n", snapshot.path.c_str(), snapshot.element_name.c_str());
  return 0;
}
