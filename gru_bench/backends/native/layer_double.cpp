// Layers in float64.
#include "entry.h"

extern "C" {

#define IN_DOUBLE(NAME, ...) CELL(NAME, __VA_ARGS__, double, false, 8)
EVERY_CELL(IN_DOUBLE)
}
