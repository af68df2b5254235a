#include "net/net_fault_internal.h"

#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

/*
 * Late packets: at a link's root a queueing discipline `prio`, whose first band has `netem`. A
 * packet gets there by its class, which the packet filter gave it; all others take the last band.
 */

#define BANDS 3
#define BAND_LATE 1          // prio counts them from one
#define NETEM_OFFSET 0x2000u // between the handles of the two: below what the kernel gives itself
#define QUEUE_PACKETS 10000  // that wait, as with Amazon's agent some thousands; beyond, they drop
#define NS_PER_MS INT64_C(1000000)

uint32_t fault_queue_class(uint32_t handle)
{
    return handle << 16 | BAND_LATE;
}

static struct nl_msg *message(int type, int flags, const struct net_link *link, uint32_t parent,
                              uint32_t handle)
{
    const struct tcmsg header = {.tcm_family = AF_UNSPEC,
                                 .tcm_ifindex = (int)link->index,
                                 .tcm_parent = parent,
                                 .tcm_handle = handle << 16};
    return net_message(type, flags, &header, sizeof(header));
}

static struct nl_msg *message_prio(const struct net_link *link, uint32_t handle)
{
    struct tc_prio_qopt options = {.bands = BANDS};
    memset(options.priomap, BANDS - 1, sizeof(options.priomap));
    struct nl_msg *made = message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, link, TC_H_ROOT, handle);
    nla_put_string(made, TCA_KIND, "prio");
    nla_put(made, TCA_OPTIONS, sizeof(options), &options);
    return made;
}

static struct nl_msg *message_netem(const struct net_link *link, const struct fault_rules *rules)
{
    const struct tc_netem_qopt options = {.limit = QUEUE_PACKETS};
    const int64_t delay_ns = rules->fault->delay_ms * NS_PER_MS;
    const int64_t jitter_ns = rules->fault->jitter_ms * NS_PER_MS;
    struct nl_msg *made = message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, link,
                                  fault_queue_class(rules->handle), rules->handle - NETEM_OFFSET);
    nla_put_string(made, TCA_KIND, "netem");
    struct nlattr *nest = nla_nest_start(made, TCA_OPTIONS);
    // The attributes follow a fixed part inside the same one.
    nlmsg_append(made, (void *)(uintptr_t)&options, sizeof(options), NLMSG_ALIGNTO);
    nla_put(made, TCA_NETEM_LATENCY64, sizeof(delay_ns), &delay_ns);
    nla_put(made, TCA_NETEM_JITTER64, sizeof(jitter_ns), &jitter_ns);
    nla_nest_end(made, nest);
    return made;
}

static int add_one(int socket_fd, const struct net_link *link, const struct fault_rules *rules,
                   struct err *err)
{
    static const char *const names[] = {"prio", "netem"};
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, message_prio(link, rules->handle), names[0]);
    net_batch_add(&batch, message_netem(link, rules), names[1]);
    int rc = net_batch_run(socket_fd, &batch, err);
    for (uint32_t i = 0; rc == 0 && i < batch.count; i++) {
        int number = batch.number[i];
        if (number == ENOENT || number == EOPNOTSUPP) {
            rc = err_set(err, ERR_UNSUPPORTED,
                         "this host's kernel has no queueing discipline %s (sch_%s)", names[i],
                         names[i]);
        } else if (number == EEXIST) {
            rc = err_set(err, ERR_BUSY, "link %s has a queueing discipline of somebody else's",
                         link->name);
        } else if (number != 0) {
            rc = err_sys(err, number, "adding the queueing discipline %s to link %s", names[i],
                         link->name);
        }
    }
    return rc;
}

int fault_queue_add(int socket_fd, const struct fault_rules *rules, struct err *err)
{
    // What a crash left without its table.
    int rc = fault_queue_remove(socket_fd, rules->links, rules->handle, err);
    for (size_t i = 0; rc == 0 && i < rules->links->count; i++) {
        rc = add_one(socket_fd, &rules->links->items[i], rules, err);
    }
    if (rc != 0) {
        struct err ignored;
        IGNORE(fault_queue_remove(socket_fd, rules->links, rules->handle, &ignored),
               "the first error tells");
    }
    return rc;
}

int fault_queue_remove(int socket_fd, const struct fault_links *links, uint32_t handle,
                       struct err *err)
{
    for (size_t i = 0; i < links->count; i++) {
        AUTO(net_batch_deinit) struct net_batch batch = {0};
        net_batch_add(&batch, message(RTM_DELQDISC, 0, &links->items[i], TC_H_ROOT, handle),
                      "removing a queueing discipline");
        int rc = net_batch_run(socket_fd, &batch, err);
        int number = rc == 0 ? batch.number[0] : 0;
        // EINVAL: the root has another handle.
        if (number != 0 && number != ENOENT && number != EINVAL && number != ENODEV) {
            return err_sys(err, number, "removing the queueing discipline of link %s",
                           links->items[i].name);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
