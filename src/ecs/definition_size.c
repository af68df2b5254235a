#include "ecs/ecs.h"

#include "base/text.h"

#define UNITS_PER_CPU 1024
#define MIB_PER_GIB 1024
#define FRACTION_DIGITS_MAX 9 ///< finer fractions make no whole unit
#define WHOLE_DIGITS_MAX 9    ///< keeps every product below within 64 bits

struct fargate_size {
    int64_t cpu_units;
    int64_t memory_min_mib;
    int64_t memory_max_mib;
    int64_t step_mib;
};

static const struct fargate_size fargate_sizes[] = {
    {256, 512, 1024, 512},      {256, 2048, 2048, 1024},      {512, 1024, 4096, 1024},
    {1024, 2048, 8192, 1024},   {2048, 4096, 16384, 1024},    {4096, 8192, 30720, 1024},
    {8192, 16384, 61440, 4096}, {16384, 32768, 122880, 8192},
};

bool ecs_fargate_size_valid(int64_t cpu_units, int64_t memory_mib)
{
    for (size_t i = 0; i < ARRAY_LEN(fargate_sizes); i++) {
        const struct fargate_size *size = &fargate_sizes[i];
        if (size->cpu_units == cpu_units && memory_mib >= size->memory_min_mib &&
            memory_mib <= size->memory_max_mib &&
            (memory_mib - size->memory_min_mib) % size->step_mib == 0) {
            return true;
        }
    }
    return false;
}

/** Digits at the front of rest, at most max of them. @return how many there were */
static size_t cut_digits(struct text *rest, size_t max, int64_t *out_value)
{
    int64_t value = 0;
    size_t count = 0;
    while (count < rest->size && rest->data[count] >= '0' && rest->data[count] <= '9') {
        if (count == max) {
            return SIZE_MAX;
        }
        value = value * 10 + (rest->data[count] - '0');
        count++;
    }
    *rest = text_slice(*rest, count, rest->size);
    *out_value = value;
    return count;
}

/**
 * Parse a plain integer of small units, or a decimal with a unit that holds `scale` of them. No
 * floating point: the fraction counts only when it makes whole small units.
 */
static int parse_size(struct text text, const char *unit, int64_t scale, int64_t *out_value)
{
    struct text rest = text_trim(text);
    int64_t whole = 0;
    int64_t fraction = 0;
    int64_t divisor = 1;
    size_t digits = cut_digits(&rest, WHOLE_DIGITS_MAX, &whole);
    bool decimal = rest.size > 0 && rest.data[0] == '.';
    if (decimal) {
        rest = text_slice(rest, 1, rest.size);
        size_t fraction_digits = cut_digits(&rest, FRACTION_DIGITS_MAX, &fraction);
        if (fraction_digits == 0 || fraction_digits == SIZE_MAX) {
            return ERR_INVALID;
        }
        for (size_t i = 0; i < fraction_digits; i++) {
            divisor *= 10;
        }
    } else if (digits == 0) {
        return ERR_INVALID;
    }
    if (digits == SIZE_MAX) {
        return ERR_INVALID;
    }
    rest = text_trim(rest);
    if (text_empty(rest) && !decimal) {
        *out_value = whole;
        return 0;
    }
    if (!text_equal_nocase(rest, text_of(unit)) || fraction * scale % divisor != 0) {
        return ERR_INVALID;
    }
    *out_value = whole * scale + fraction * scale / divisor;
    return 0;
}

int ecs_parse_cpu(struct text text, int64_t *out_units)
{
    return parse_size(text, "vCPU", UNITS_PER_CPU, out_units);
}

int ecs_parse_memory(struct text text, int64_t *out_mib)
{
    return parse_size(text, "GB", MIB_PER_GIB, out_mib);
}
