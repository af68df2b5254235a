#include "agent/garbage.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// Times of the cases are in minutes.
#define MINUTE_MS 60000
#define IMAGE_MAX 8
#define ROUND_MAX 6

/** A round: which images there are, one character each, and which are to go. */
struct round {
    int minute;
    const char *images; ///< n named, u unnamed, N and U the same in use, . gone
    bool urgent;
    const char *want; ///< places, in their order
};

static const struct {
    const char *name;
    int named_minutes;
    struct round rounds[ROUND_MAX];
} cases[] = {
    {"what has a name stays for ever",
     0,
     {{0, "nn", false, ""}, {100000, "nn", false, ""}, {100001, "nn", true, ""}}},
    {"unless the operator says how long, and not sooner on a full disk",
     90,
     {{0, "nN", false, ""},
      {89, "nN", true, ""},
      {90, "nN", false, "0"},
      {91, ".n", false, ""},
      {180, ".n", false, ""},
      {181, ".n", false, "1"}}},
    {"what lost its names goes after an hour",
     0,
     {{0, "u", false, ""}, {59, "u", false, ""}, {60, "u", false, "0"}}},
    {"or at once when the disk is full", 0, {{0, "uUn", true, "0"}}},
    {"use begins the hour anew",
     0,
     {{0, "u", false, ""},
      {30, "U", false, ""},
      {60, "u", false, ""},
      {119, "u", false, ""},
      {120, "u", false, "0"}}},
    {"so does coming back",
     0,
     {{0, "u", false, ""}, {30, ".", false, ""}, {60, "u", false, ""}, {61, "u", false, ""}}},
    {"the longest out of use first, and five in a cycle",
     0,
     {{0, ".u", false, ""},
      {1, "uuuuuuu", false, ""},
      {61, "uuuuuuu", false, "10234"},
      {62, "uuuuuuu", true, "1023456"}}},
    {"both kinds count together", 60, {{0, "nu", false, ""}, {60, "nu", false, "01"}}},
};

static void images_go(void **state)
{
    (void)state;
    static const char *const digests[IMAGE_MAX] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct garbage garbage = {0};
        for (size_t k = 0; k < ROUND_MAX && cases[i].rounds[k].want != NULL; k++) {
            const struct round *round = &cases[i].rounds[k];
            const struct garbage_rules rules = {.named_age_ms =
                                                    (int64_t)cases[i].named_minutes * MINUTE_MS,
                                                .urgent = round->urgent};
            struct garbage_image images[IMAGE_MAX];
            size_t places[IMAGE_MAX];
            size_t chosen[IMAGE_MAX];
            size_t count = 0;
            char got[IMAGE_MAX + 1] = "";
            for (size_t at = 0; round->images[at] != '\0'; at++) {
                char kind = round->images[at];
                if (kind != '.') {
                    places[count] = at;
                    images[count++] = (struct garbage_image){.digest = text_of(digests[at]),
                                                             .named = kind == 'n' || kind == 'N',
                                                             .in_use = kind == 'N' || kind == 'U'};
                }
            }
            size_t found = garbage_images(&garbage, images, count, &rules,
                                          (int64_t)round->minute * MINUTE_MS, chosen);
            for (size_t at = 0; at < found; at++) {
                got[at] = (char)('0' + places[chosen[at]]);
            }
            print_message("  minute %d: %s\n", round->minute, round->images);
            assert_string_equal(got, round->want);
        }
        garbage_deinit(&garbage);
    }
}

static void outputs_go(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct garbage_output outputs[4];
        uint64_t limit_bytes;
        size_t want;
        size_t want_indexes[4];
    } rows[] = {
        {"nothing is old, and all is within the limit",
         {{900, 10, false, 0}, {950, 10, false, 1}, {800, 10, true, 2}},
         30,
         0,
         {0}},
        {"what is old goes", {{100, 10, false, 0}, {900, 10, false, 1}}, 100, 1, {0}},
        {"what is live stays, however old", {{100, 10, true, 0}, {900, 10, false, 1}}, 100, 0, {0}},
        {"the oldest go until the rest is within the limit",
         {{950, 40, false, 0}, {901, 40, false, 1}, {930, 40, false, 2}, {1, 40, true, 3}},
         100,
         2,
         {1, 2}},
        {"live output alone may be beyond it",
         {{950, 40, false, 0}, {1, 400, true, 1}},
         100,
         1,
         {0}},
        {"a clock that was set back makes nothing older",
         {{5000, 10, false, 0}, {900, 10, false, 1}},
         100,
         0,
         {0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("%s\n", rows[i].name);
        struct garbage_output outputs[4];
        size_t count = 0;
        while (count < 4 && rows[i].outputs[count].bytes > 0) {
            outputs[count] = rows[i].outputs[count];
            count++;
        }
        assert_int_equal(garbage_outputs(outputs, count, 500, rows[i].limit_bytes, 1000),
                         rows[i].want);
        for (size_t k = 0; k < rows[i].want; k++) {
            assert_int_equal(outputs[k].index, rows[i].want_indexes[k]);
        }
    }
}

static void a_step_of_the_clock_ages_nothing(void **state)
{
    (void)state;
    static const struct {
        int64_t monotonic_h;
        int64_t wall_h;
        int64_t want_h;
    } rows[] = {
        {1, 101, 101},  {2, 102, 102},  {3, 153, 103}, // forward by 50 hours: not believed
        {12, 162, 112},                                // nor nine hours later
        {13, 163, 163},                                // but after ten, as long as files are kept
        {14, 104, 104},                                // back: at once
        {15, 205, 105},                                // forward
        {16, 106, 106},                                // and back again
        {26, 216, 116},                                // so that the ten hours begin anew
        {35, 225, 125}, {36, 226, 226},
    };
    const int64_t hour_ms = 3600000;
    struct garbage garbage = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("at %d hours the clock says %d\n", (int)rows[i].monotonic_h,
                      (int)rows[i].wall_h);
        int64_t now_s = garbage_now_s(&garbage, rows[i].wall_h * hour_ms,
                                      rows[i].monotonic_h * hour_ms, 10 * hour_ms);
        assert_int_equal(now_s, rows[i].want_h * 3600);
    }
    garbage_deinit(&garbage);
}

static void disks_are_too_full(void **state)
{
    (void)state;
    const uint64_t mib = UINT64_C(1) << 20;
    static const struct {
        const char *name;
        uint64_t total_mib;
        uint64_t free_mib;
        uint64_t total_files;
        uint64_t free_files;
        uint64_t option_mib;
        bool before;
        uint64_t want_reserve_mib;
        bool want;
    } rows[] = {
        {"a twentieth of a small disk", 2000, 100, 0, 0, 0, false, 100, false},
        {"less than that", 2000, 99, 0, 0, 0, false, 100, true},
        {"well again with a quarter more", 2000, 124, 0, 0, 0, true, 100, true},
        {"now it is", 2000, 125, 0, 0, 0, true, 100, false},
        {"of a large disk 1 GiB", 4000000, 1024, 0, 0, 0, false, 1024, false},
        {"what the operator says", 4000000, 1024, 0, 0, 5000, false, 5000, true},
        {"no files left", 2000, 1000, 5000, 99, 0, false, 100, true},
        {"enough files", 2000, 1000, 5000, 100, 0, false, 100, false},
        {"files again, with a quarter more", 2000, 1000, 5000, 124, 0, true, 100, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("%s\n", rows[i].name);
        const struct garbage_disk disk = {.total_bytes = rows[i].total_mib * mib,
                                          .free_bytes = rows[i].free_mib * mib,
                                          .total_files = rows[i].total_files,
                                          .free_files = rows[i].free_files};
        uint64_t reserve = garbage_reserve_bytes(&disk, rows[i].option_mib * mib);
        assert_int_equal(reserve, rows[i].want_reserve_mib * mib);
        assert_int_equal(garbage_pressed(&disk, reserve, rows[i].before), rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_go),
        cmocka_unit_test(outputs_go),
        cmocka_unit_test(a_step_of_the_clock_ages_nothing),
        cmocka_unit_test(disks_are_too_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
