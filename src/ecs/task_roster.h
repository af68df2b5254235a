#pragma once

#include "ecs/task_run.h"

/*
 * The container instances of a cluster, or the hosts of the pool, as placement looks at them when a
 * request asks for more than the short way gives: one array of spots that stays from request to
 * request, and columns of what was found out about each.
 *
 * A request looks at thousands of instances, and nearly nothing about them changed since the last
 * one. So a node has two stamps, one for its record and contact, one for its tasks, and what was
 * worked out under the same stamp holds: whether an expression means the instance, which value an
 * attribute has, how many tasks of a group run there. All of it is volatile and follows from
 * records; nothing here decides anything.
 */

#define TASK_COLUMNS_MAX 16 // of one cluster: 160 KB each with 10,000 instances

/** What a column tells of each instance. */
enum task_column_kind {
    TASK_COLUMN_MEANT, ///< whether an expression means it; the name is the expression
    TASK_COLUMN_VALUE, ///< a number for the value of an attribute, which the name is
    TASK_COLUMN_GROUP, ///< how many tasks of a group, which the name is, are to run there
};

/** One instance in a column. */
struct task_cell {
    uint64_t stamp; ///< of the node when the value was worked out
    int32_t value;
};

/** What was found out about each instance; see enum task_column_kind. */
struct task_column {
    enum task_column_kind kind;
    bool by_tasks;    ///< it depends on the tasks of a node
    struct text name; ///< owned
    uint64_t used;    ///< when it was asked for last: the one least used gives way
    struct task_cell *cells;
    size_t capacity;
    struct map numbers; ///< of values, counted from 1
    size_t number_count;
};

/** The spots of a cluster or the pool. */
struct task_roster {
    uint64_t stamp;          ///< of the state's memberships when the spots were collected
    uint64_t change_seen;    ///< how many of the state's changes were taken over
    struct task_spot *spots; ///< ascending by node
    size_t count;
    size_t capacity;
    struct task_column columns[TASK_COLUMNS_MAX];
    size_t column_count;
};

/** Bring the spots of a group up to date. They are valid until nodes change. */
struct task_roster *task_roster_look(struct core_call *call, const struct task_group *group);

/**
 * Find or begin a column. Cells whose stamp is not the one of their spot hold nothing; the caller
 * works those out. Valid until the next call.
 */
struct task_column *task_roster_column(struct task_state *state, struct task_roster *roster,
                                       enum task_column_kind kind, bool by_tasks, struct text name);

/** @return the number of a value in a TASK_COLUMN_VALUE */
int32_t task_column_number(struct task_column *column, struct text value);
