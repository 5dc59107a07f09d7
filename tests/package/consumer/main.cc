// The smallest program that needs the headers and the library: prints the version of both.
#include <cstdio>
#include <cstring>

#include <varve/error.h>
#include <varve/version.h>

int main() {
  std::printf("%s %s\n", varve::version(), varve::error_code_name(varve::ErrorCode::no_space));
  return std::strcmp(varve::version(), VARVE_VERSION) == 0 ? 0 : 1;
}
