#include "shape/shape.h"

#include "shape/api.h"

const char shape_empty;

#define PLAIN(symbol, plain_kind, type)                                                            \
    const struct shape_type symbol = {                                                             \
        .kind = plain_kind,                                                                        \
        .name = #symbol,                                                                           \
        .size_bytes = sizeof(type),                                                                \
        .align_bytes = _Alignof(type),                                                             \
    }

PLAIN(shape_bool, SHAPE_BOOL, bool);
PLAIN(shape_int, SHAPE_INT, int32_t);
PLAIN(shape_long, SHAPE_LONG, int64_t);
PLAIN(shape_double, SHAPE_DOUBLE, double);
PLAIN(shape_time, SHAPE_TIME, int64_t);
PLAIN(shape_text, SHAPE_TEXT, struct text);
PLAIN(shape_blob, SHAPE_BLOB, struct text);
PLAIN(shape_document, SHAPE_DOCUMENT, struct text);

#define PLAIN_LIST(symbol, type, element_shape)                                                    \
    const struct shape_type symbol = {                                                             \
        .kind = SHAPE_LIST,                                                                        \
        .name = "list",                                                                            \
        .size_bytes = sizeof(type),                                                                \
        .align_bytes = _Alignof(type),                                                             \
        .element = &element_shape,                                                                 \
    }

PLAIN_LIST(shape_text_list, struct text_list, shape_text);
PLAIN_LIST(shape_int_list, struct int_list, shape_int);
PLAIN_LIST(shape_long_list, struct long_list, shape_long);
PLAIN_LIST(shape_double_list, struct double_list, shape_double);

const struct shape_type shape_text_map = {
    .kind = SHAPE_MAP,
    .name = "map",
    .size_bytes = sizeof(struct text_map),
    .align_bytes = _Alignof(struct text_map),
    .element = &shape_text,
    .value_offset = offsetof(struct text_entry, value),
    .entry_size_bytes = sizeof(struct text_entry),
};
