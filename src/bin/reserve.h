#pragma once

#include "base/alloc.h"
#include "base/err.h"

/*
 * Which range a Berth of this host uses for its VPC, known to the others before anything routes it.
 * Each running Berth holds /run/berth/INSTANCE/vpc-cidr locked; one whose lock is free is over, and
 * what it left in the kernel shows as a route.
 */

/**
 * Reserve a range for as long as the descriptor is open.
 *
 * @param wanted    a range, or absent to have a free one chosen
 * @param out_cidr  in the arena
 * @param out_fd    the caller's
 * @return 0; ERR_NO_ROOM when no private range is free
 */
MUST_CHECK int reserve_cidr(const char *instance, struct text wanted, struct arena *arena,
                            struct text *out_cidr, int *out_fd, struct err *err);
