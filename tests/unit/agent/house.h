#pragma once

#include "agent/agent.h"
#include "base/buf.h"
#include "client/client.h"
#include "runtime/fake.h"
#include "server/host.h"
#include "server/server.h"

/*
 * A whole Berth for tests of the agent: the real server with a store in memory, and the real agent
 * over real sockets of the loopback, on one loop as in `berth up`; only the containers are
 * invented. Functions fail the test when something does not come about in time.
 */

#define HOUSE_ACCOUNT "000000000000"
#define HOUSE_REGION "eu-west-1"
#define HOUSE_KEY "AKIDROOT"
#define HOUSE_SECRET "the secret of the account"
#define HOUSE_WAIT_MS 240000

struct house {
    uv_loop_t loop;
    char path[64]; ///< a directory of its own
    char data_dir[96];
    struct store *store;
    struct core *core;
    struct host *host;
    struct server *server;
    struct pki *pki;
    uint16_t api_port; ///< 0 before the first start of the server
    struct runtime *runtime;
    uv_timer_t clock; ///< moves the invented containers
    struct agent_identity identity;
    struct arena arena; ///< of the identity and of answers
    struct agent *agent;
    struct client *client; ///< signs with the account's key
    uint32_t cpu_units;    ///< that the agent offers; 0 for enough of them
    uint32_t memory_mib;   ///< likewise
    int ready_count;
    int refused_count;
    bool stopped;
    bool tls;
    const char *secret; ///< a parameter that `web` has as a secret, for the next task; or NULL
};

/** Start loop, runtime and server; no agent yet. */
void house_open(struct house *house, bool tls);

/** End everything and check that nothing is left. */
void house_close(struct house *house);

/** Start the server, again on the same port and with the same store. */
void house_start_server(struct house *house);

/** End the server in an orderly way. */
void house_stop_server(struct house *house);

/** Have the node join, inside. */
void house_join(struct house *house);

/** Start the agent and wait until it is ready. */
void house_start_agent(struct house *house);

/** Start the agent, and do not wait. */
void house_begin_agent(struct house *house);

/** Stop the agent and free it. */
void house_stop_agent(struct house *house, enum agent_stop_mode mode);

/** Turn the loop until check returns true. */
void house_until(struct house *house, bool (*check)(struct house *house, const void *argument),
                 const void *argument, const char *what);

/** Call an operation over HTTP; the answer is in house->arena. @return the client's rc */
int house_call(struct house *house, const struct api_operation *operation, const void *request,
               void *out_response, struct err *err);

/** Register a definition of two containers `web` and `log`, of which web is essential, and run one
 *  task of it. @return its ARN in house->arena */
struct text house_run_task(struct house *house);

/** Ask for the task. Borrowed until the arena goes. */
const struct ecs_task *house_task(struct house *house, struct text arn);

/** Wait until DescribeTasks tells this lastStatus. */
const struct ecs_task *house_expect(struct house *house, struct text arn, const char *status);

/** Stop a task. */
void house_stop_task(struct house *house, struct text arn);
