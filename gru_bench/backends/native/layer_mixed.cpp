// Layers in float32 with products of bfloat16.
#include "entry.h"

extern "C" {

#define IN_MIXED(NAME, ...) CELL(NAME, __VA_ARGS__, float, true, mixed)
EVERY_CELL(IN_MIXED)
}
