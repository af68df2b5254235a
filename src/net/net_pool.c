#include "base/alloc.h"
#include "net/net_internal.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

/*
 * Making a namespace takes a third of a millisecond, and far longer while the kernel tears others
 * down; giving it the address of a task's endpoints takes another. So a thread makes some ahead.
 */

static int make(struct net_space *out_space, struct err *err)
{
    int back = -1;
    int rc = net_space_create(out_space, err);
    if (rc != 0) {
        return rc;
    }
    struct err ignored = {0};
    if (net_namespace_enter(out_space->fd, &back, &ignored) == 0) {
        IGNORE(net_endpoint_prepare(&ignored), "who listens there tries again and reports it");
        net_namespace_leave(back);
    }
    return 0;
}

static void wait_after_failure(struct net_pool *pool)
{
    // Out of memory or of privileges: try again in a second, or when somebody takes one.
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1;
    pthread_cond_timedwait(&pool->wanted, &pool->lock, &until);
}

static void *pool_run(void *context)
{
    struct net_pool *pool = context;
    pthread_mutex_lock(&pool->lock);
    while (!pool->stopping) {
        if (pool->count >= pool->size) {
            pthread_cond_wait(&pool->wanted, &pool->lock);
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        struct net_space space;
        struct err ignored; // whoever needs a namespace makes one and reports what hinders it
        int rc = make(&space, &ignored);
        pthread_mutex_lock(&pool->lock);
        if (rc == 0) {
            pool->ready[pool->count++] = space;
        } else if (!pool->stopping) {
            wait_after_failure(pool);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

// Signals belong to the program's own threads.
static int start_thread(struct net_pool *pool)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int number = pthread_create(&pool->thread, NULL, pool_run, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return number;
}

int net_pool_init(struct net_pool *pool, uint32_t size, struct err *err)
{
    *pool = (struct net_pool){.size = MIN(size, (uint32_t)NET_POOL_MAX)};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wanted, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pool->size == 0) {
        return 0;
    }
    pool->ready = alloc_array(pool->size, sizeof(*pool->ready));
    int number = start_thread(pool);
    if (number != 0) {
        return err_sys(err, number, "starting a thread");
    }
    pool->running = true;
    return 0;
}

void net_pool_deinit(struct net_pool *pool)
{
    if (pool->running) {
        pthread_mutex_lock(&pool->lock);
        pool->stopping = true;
        pthread_cond_signal(&pool->wanted);
        pthread_mutex_unlock(&pool->lock);
        pthread_join(pool->thread, NULL);
    }
    for (uint32_t i = 0; i < pool->count; i++) {
        net_space_deinit(&pool->ready[i]);
    }
    alloc_free(pool->ready);
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->lock);
    *pool = (struct net_pool){0};
}

int net_pool_take(struct net_pool *pool, struct net_space *out_space, struct err *err)
{
    bool found = false;
    pthread_mutex_lock(&pool->lock);
    if (pool->count > 0) {
        *out_space = pool->ready[--pool->count];
        found = true;
        pthread_cond_signal(&pool->wanted);
    }
    pthread_mutex_unlock(&pool->lock);
    return found ? 0 : make(out_space, err);
}
