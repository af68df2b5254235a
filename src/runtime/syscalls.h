#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * Which system calls a container may make: Docker's default profile, which depends on the
 * container's capabilities, in two forms of the same table. As a member of config.json every OCI
 * runtime reads it, and compiles it again for each start, which takes most of a start's time. As a
 * program it is compiled once, and crun hands it to the kernel as it is.
 *
 * In both, a call that the profile does not allow fails with EPERM. The program, as runc does, lets
 * calls that are newer than any it knows fail with ENOSYS, so that C libraries use older ones.
 */

/** The annotation of config.json by which crun, from 0.18 on, takes a program in base64. It needs
 *  no member `seccomp` then. Other runtimes pass it over, and would set no filter at all. */
#define SYSCALLS_ANNOTATION "run.oci.seccomp_bpf_data"

/**
 * What a profile depends on, as a set of bits: two containers with the same have the same profile.
 *
 * @param capabilities  such as CAP_CHOWN
 */
uint32_t syscalls_grants(struct text_list capabilities);

/** Append the profile as the member `seccomp` of config.json. */
void syscalls_write(uint32_t grants, struct buf *out);

/**
 * Append the profile as a program for seccomp(2): an array of struct sock_filter.
 *
 * Takes 10 ms, and a few MB for that time, which are given back.
 *
 * @return 0, or ERR_SYS when libseccomp refuses it
 */
MUST_CHECK int syscalls_compile(uint32_t grants, struct buf *out_program, struct err *err);
