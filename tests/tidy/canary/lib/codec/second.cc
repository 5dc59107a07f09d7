// The second file that includes zlib, and the home of another floor's header.
#include <liburing.h>
#include <zlib.h>
