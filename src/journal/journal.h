#pragma once

#include "api/journal.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#include "shape/cbor.h"

/*
 * What a node must remember: one record for each task, under the task's id.
 *
 * The journal decides whether a task may be launched (agent/logic.h), so it never goes back in
 * time: after a crash at any point each record is the last one whose write returned, or one whose
 * write was under way. Calls block and come from one thread at a time.
 */

#define JOURNAL_ID_SIZE 32            ///< hex digits of a task's id
#define JOURNAL_RECORD_MAX (1u << 20) ///< a definition is at most 64 KiB; states add little

struct journal;

/** One changed record. */
struct journal_change {
    struct text task_id; ///< JOURNAL_ID_SIZE bytes
    struct text bytes;   ///< of journal_encode; absent: delete; what is not there may be deleted
};

/** What a load had to leave out because it was damaged. */
struct journal_loss {
    uint64_t bytes; ///< that are no whole records
    uint32_t gaps;  ///< places where that was
    bool inside;    ///< whole records follow a gap: more than the last write was hit
};

/** Called for every record, in no particular order. Borrowed for the call. @return 0 to go on */
typedef int (*journal_visit_fn)(void *context, struct text task_id, const struct journal_task *task,
                                struct err *err);

/** What an implementation does. */
struct journal_ops {
    const char *name;
    /** Give the bytes of every record; see journal_load. uncertain: a later record of the same task
     *  may be lost. */
    int (*load)(struct journal *journal,
                int (*visit)(void *context, struct text task_id, struct text bytes, bool uncertain,
                             struct err *err),
                void *context, struct journal_loss *out_loss, struct err *err);
    int (*write)(struct journal *journal, const struct journal_change *changes, size_t count,
                 struct err *err);
    void (*close)(struct journal *journal);
};

/** Embed as the first member of an implementation. */
struct journal {
    const struct journal_ops *ops;
    struct map unknown; ///< see journal_encode_again; by task id, values are owned
};

/**
 * Visit all records. Damaged ones are left out and told in out_loss, to be logged.
 *
 * When a record that was durable once may be lost, those of phase ACCEPTED are given as LAUNCHED,
 * without a bootId: the task may have been launched, and must not be launched again.
 *
 * @return 0; ERR_VERSION when a newer Berth wrote a record; ERR_SYS; what visit returned
 */
MUST_CHECK int journal_load(struct journal *journal, journal_visit_fn visit, void *context,
                            struct journal_loss *out_loss, struct err *err);

/**
 * Make changes durable, in their order, with one synchronisation for all.
 *
 * @return 0; on any error none of them counts, and later writes may succeed: ERR_FULL_DISK, ERR_SYS
 */
MUST_CHECK int journal_write(struct journal *journal, const struct journal_change *changes,
                             size_t count, struct err *err);

/** Close and free; NULL is allowed. */
void journal_close(struct journal *journal);

AUTO_POINTER(struct journal, journal_close)

/** Append the bytes of a record. */
void journal_encode(const struct journal_task *task, struct buf *out);

/**
 * Append the bytes of a task's next record, with the members of the one that was loaded which this
 * version does not know: a newer Berth wrote them, and may be back. Not while a load runs.
 */
void journal_encode_again(const struct journal *journal, struct text task_id,
                          const struct journal_task *task, struct buf *out);

/** Let go of those members: the task's record is to be deleted. */
void journal_forget(struct journal *journal, struct text task_id);

/**
 * Read the bytes of a record.
 *
 * @param out_task     borrows from the arena, as does out_unknown
 * @param out_unknown  members that this version does not know; may be NULL
 * @return 0, ERR_CORRUPT, or ERR_VERSION when a newer Berth wrote it
 */
MUST_CHECK int journal_decode(struct text bytes, struct arena *arena, struct journal_task *out_task,
                              struct cbor_unknown *out_unknown, struct err *err);

/**
 * Records in the file DIRECTORY/journal, which is made when it is missing.
 *
 * An append-only log: each record carries a checksum and a number, a write is one append and one
 * fdatasync, and the log is written anew when most of it is out of date. Room for the records that
 * every known task still needs is reserved on the disk before a task is taken, so that a disk that
 * fills up stops new tasks and not the end of old ones.
 *
 * @return 0; ERR_BUSY when another process has it open; ERR_CORRUPT when the file is none of ours;
 *         ERR_VERSION when a newer Berth wrote it; ERR_FULL_DISK; ERR_SYS
 */
MUST_CHECK int journal_file_open(const char *directory, struct journal **out_journal,
                                 struct err *err);
