#pragma once

#include <errno.h>

/*
 * What the files of the program `escape` share; see escape.c. Every attempt answers 0 when it came
 * through, else the error number.
 */

/** The answer to what a system call returned. */
static inline int result(long rc)
{
    return rc < 0 ? errno : 0;
}

/** @return what a test chose; the program ends when it did not */
const char *argument(const char *name);

/** @return 0 when a file has something to read */
int reads(const char *path);

// ---- escape_calls.c: what the kernel is asked for directly

int try_mount_attributes(void);
int try_move_mount(void);
int try_io_uring(void);
int try_fanotify(void);
int try_swap(void);
int try_accounting(void);
int try_clock_rate(void);
int try_priority(void);
int try_realtime(void);
int try_limits(void);
int try_kexec_file(void);
int try_process_compare(void);
int try_crypto_sockets(void);
int try_hypervisor_sockets(void);
int try_netlink_address(void);
int try_netlink_audit(void);
int try_netlink_filter(void);
int try_abstract_host(void);
int try_firmware(void);
int try_interrupts(void);
int try_powercap(void);
int try_thermal(void);
int try_vmcore(void);
int try_debug(void);
int try_security(void);

// ---- escape_watch.c: who comes into the container

int try_watch(void);
int try_race(void);
