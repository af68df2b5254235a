#pragma once

#include "base/alloc.h"
#include "base/err.h"
#include "net/net.h"

/*
 * Which ranges a Berth of this host uses for its VPC and its bridge network, known to the others
 * before anything routes them. Each running Berth holds vpc-cidr and bridge-cidr below
 * /run/berth/INSTANCE locked; one whose lock is free is over, and what it left in the kernel shows
 * as a route.
 */

/**
 * Reserve a range for as long as the descriptor is open.
 *
 * @param wanted    a range, or absent for the one that this instance had before, else a free one
 * @param out_cidr  in the arena
 * @param out_fd    the caller's
 * @return 0; ERR_NO_ROOM when no private range is free
 */
MUST_CHECK int reserve_cidr(const char *instance, enum net_use use, struct text wanted,
                            struct arena *arena, struct text *out_cidr, int *out_fd,
                            struct err *err);
