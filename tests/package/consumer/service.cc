// The smallest program that links the snapshot services: a service without systems.
#include <cstdio>
#include <string>

#include <varve/error.h>
#include <varve/service.h>

int main() {
  varve::ServiceOptions options;
  options.synchronous = true;
  const auto services = varve::SnapshotServices::create(options);
  if (!services) {
    return 1;
  }
  std::string created;
  std::string job;
  const auto code = (*services)->virtual_system().create_snapshot("", "", 2, created, job);
  std::printf("%s %s\n", varve::method_code_text(code),
              varve::error_code_name(varve::ErrorCode::no_space));
  return code == 4 ? 0 : 1;
}
