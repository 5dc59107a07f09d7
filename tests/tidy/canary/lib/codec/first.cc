// The one file that may include zlib, and a header nobody in lib/ may include.
#include <zlib.h>

#include <fmt/format.h>
