#pragma once

#include "base/base.h"

/*
 * The entry that libFuzzer and the driver of corpora call. A target ends the process with ASSERT
 * when a property does not hold; it keeps nothing between inputs.
 */

/** Try one input. @return 0 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
