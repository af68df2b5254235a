#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "runtime/fake.h"
#include "task/order.h"

#include <pthread.h>

/*
 * What the parts of the fake driver share: fake.c, its side towards the agent, and fake_advance.c,
 * what its containers do.
 */

#define LINK_MAX 8

/** What an invented container will do, in fake milliseconds; ORDER_NEVER for nothing. */
struct fake_container {
    struct runtime_fake_script script;
    int64_t started_ms;
    int64_t start_at_ms;
    int64_t exit_at_ms;
    int32_t exit_code;
    bool commands[ORDER_COMMAND_COUNT]; ///< under way
};

/** A task of invented containers. */
struct fake_task {
    struct arena arena;
    char *id;
    struct supervisor_plan plan;
    struct order *order; ///< NULL before launch and after the end
    struct fake_container *containers;
    int links[LINK_MAX];
    struct buf in[LINK_MAX];
    struct buf state; ///< the last frame, empty before launch
    int64_t version;
    int64_t wake_ms; ///< when it moves on by itself
    bool moved;      ///< it was launched, or sent a command: move it on at once
    bool launched;
};

/** The driver. */
struct fake {
    struct runtime runtime;
    pthread_mutex_t mutex;
    struct map tasks;   ///< id to fake_task
    struct map scripts; ///< container name to runtime_fake_script
    int failures[RUNTIME_FAKE_STEP_COUNT];
    size_t failure_counts[RUNTIME_FAKE_STEP_COUNT];
    int epoll_fd;
    int launch_fd; ///< readable once a task was launched
    int32_t next_pid;
    int64_t now_ms;
    uint64_t looks; ///< at containers, see fake_sample
};

/** @return the driver behind a runtime that runtime_fake_new made */
struct fake *fake_of(struct runtime *runtime);

/** Take the lock that guards all of it. */
void fake_lock(struct fake *fake);

/** Let it go. */
void fake_unlock(struct fake *fake);

/** The supervisor is no more: its links are closed, and nothing moves any longer. */
void fake_end_supervisor(struct fake_task *task);

/** Tell the task's state to all that are attached, if it is another. */
void fake_publish(struct fake_task *task);
