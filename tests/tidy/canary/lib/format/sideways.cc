// Siblings on one floor.
#include "base/fine.h"
#include "codec/codec.h"
#include "format/fine.h"
#include "varve/types.h"
