#include "io/directory.h"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "base/failure.h"

namespace varve {

Result<void> sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory =
      slash == std::string::npos ? "." : path.substr(0, slash == 0 ? 1 : slash);
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == EACCES) {
      return {};  // One may create in a directory one cannot read.
    }
    return system_failure(errno, IoTag::none, Error::kNoOffset, "cannot open the directory");
  }
  Result<void> result;
  if (::fsync(descriptor) != 0 && errno != EINVAL && errno != EROFS) {
    result = system_failure(errno, IoTag::none, Error::kNoOffset, "cannot flush the directory");
  }
  ::close(descriptor);
  return result;
}

}  // namespace varve
