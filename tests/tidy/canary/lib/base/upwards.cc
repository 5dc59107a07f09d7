// A low floor that includes a higher one, and one that climbs out of its folder.
#include "format/header.h"
#include "../io/transfer.h"
