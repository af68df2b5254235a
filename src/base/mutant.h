#pragma once

#include "base/base.h"

/*
 * Named mistakes that the simulator must find (docs/simulator.md). In every other build MUTANT is
 * the constant false and leaves nothing behind.
 */

#ifdef BERTH_MUTANTS
/** @return whether the simulator runs with this mutant. Defined by the simulator. */
bool mutant_is(const char *name);
#define MUTANT(name) mutant_is(name)
#else
#define MUTANT(name) false
#endif
