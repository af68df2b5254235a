#pragma once

#include "api/config.h"
#include "base/alloc.h"
#include "base/err.h"

/*
 * Berth's data directory: who holds it, what bears its name, and the keys made at first start.
 * docs/architecture.md lists what is in it. One process at a time holds a directory.
 */

struct data_dir {
    struct arena arena;
    char *path;       ///< absolute
    char instance[9]; ///< 8 hex digits, made once
    int lock_fd;
    struct config_root_key root; ///< borrows from the arena
};

/**
 * Make the directory when it is missing, take its lock, read or make instance and root key.
 *
 * @return 0; ERR_BUSY when another process holds it, with that process's id
 */
MUST_CHECK int data_open(const char *path, struct data_dir *out_data, struct err *err);

/** Let the directory go. Accepts half-opened ones. */
void data_close(struct data_dir *data);

/** A path below the directory, in its arena. */
char *data_path(struct data_dir *data, const char *relative);

/** Write client.json, so that the commands find the server. ca_file may be NULL. */
MUST_CHECK int data_write_client(struct data_dir *data, const char *endpoint, const char *region,
                                 const char *ca_file, struct err *err);
