#include "runtime/oci_internal.h"

#include "runtime/syscalls.h"

#include <string.h>

/*
 * Filters of system calls, each compiled once. Nearly all containers have the default capabilities,
 * so there are few; a filter is 8 to 16 KiB.
 */

static const struct oci_filter *find(struct oci_filters *filters, uint32_t grants)
{
    for (size_t i = 0; i < ARRAY_LEN(filters->items); i++) {
        if (filters->items[i].program.data != NULL && filters->items[i].grants == grants) {
            return &filters->items[i];
        }
    }
    return NULL;
}

// In the place of the one that was made longest ago.
static int make(struct oci_filters *filters, uint32_t grants, const struct oci_filter **out_filter,
                struct err *err)
{
    AUTO(buf_deinit) struct buf program = {0};
    int rc = syscalls_compile(grants, &program, err);
    alloc_trim(); // it took some MB
    if (rc != 0) {
        return rc;
    }
    struct oci_filter *filter = &filters->items[filters->next];
    filters->next = (filters->next + 1) % ARRAY_LEN(filters->items);
    filter->grants = grants;
    buf_reset(&filter->program);
    buf_text(&filter->program, buf_view(&program));
    *out_filter = filter;
    return 0;
}

int oci_filter(struct oci *oci, struct text_list capabilities, struct arena *arena,
               struct text *out_program, struct err *err)
{
    uint32_t grants = syscalls_grants(capabilities);
    pthread_mutex_lock(&oci->filters.lock);
    const struct oci_filter *filter = find(&oci->filters, grants);
    int rc = filter == NULL ? make(&oci->filters, grants, &filter, err) : 0;
    if (rc == 0) {
        *out_program = arena_text(arena, buf_view(&filter->program));
    }
    pthread_mutex_unlock(&oci->filters.lock);
    return rc;
}

void oci_filters_init(struct oci_filters *filters)
{
    *filters = (struct oci_filters){0};
    pthread_mutex_init(&filters->lock, NULL); // never fails on Linux
}

void oci_filters_deinit(struct oci_filters *filters)
{
    for (size_t i = 0; i < ARRAY_LEN(filters->items); i++) {
        buf_deinit(&filters->items[i].program);
    }
    pthread_mutex_destroy(&filters->lock);
}
