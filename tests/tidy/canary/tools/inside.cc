// A tool that reaches into the library.
#include "io/transfer.h"
