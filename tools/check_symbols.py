#!/usr/bin/env python3
"""Checks that libraries of the deterministic core stay pure (STYLE, The deterministic core).

    check_symbols.py [--allow LIB.a ...] LIB.a ...

Objects of the libraries may refer only to symbols that they define themselves, that an --allow
library defines, or that the list below names: no clock, randomness, I/O, locks or logging. And they
may keep no mutable data: nothing in .data, .bss or thread-local storage.
"""
import argparse
import re
import subprocess
import sys

# Memory and text of base, which only end the process when they fail.
BASE = """
    alloc_array alloc_format alloc_free alloc_resize alloc_string alloc_zero
    arena_alloc arena_array arena_deinit arena_format arena_join arena_reset arena_text
    base_assert_failed base_out_of_memory
    buf_add buf_byte buf_consume buf_deinit buf_format buf_reserve buf_reset buf_string buf_text
    buf_view
    err_name err_set err_wrap
    map_deinit map_get map_get_u64 map_next map_put map_put_u64 map_remove map_remove_u64
    text_compare text_copy text_cut text_empty text_ends text_equal text_equal_nocase text_find
    text_find_last text_hash text_hex text_is text_is_utf8 text_list_has text_made_of text_of
    text_slice text_starts text_to_i64 text_to_u64 text_trim text_unhex text_uuid
""".split()

# Descriptors and codecs are pure as a whole.
PREFIXES = ("shape_", "cbor_", "json_", "api_find")

# The C library: what works on its arguments alone. printf only into memory; no locale is ever set.
LIBC = """
    bcmp memchr memcmp memcpy memmove memset strchr strcmp strlen strncmp strrchr strstr
    bsearch qsort snprintf vsnprintf
""".split()

# What compilers put in: stack protection, position independence, fortified forms of the above.
COMPILER = re.compile(r"__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__(%s)_chk|__isoc99_.*_chk"
                      % "|".join(LIBC))
# The last form is how ASan of clang describes constants.
SANITIZER = re.compile(r"__(asan|ubsan|tsan|sanitizer|sancov|gcov|llvm_prof)\w*|\.?__odr_asan.*|__unnamed_\d+")
MUTABLE = re.compile(r"\.(data|bss|tdata|tbss)(\..*)?$|\*COM\*")
CONSTANT = re.compile(r"\.data\.rel\.ro(\..*)?$")


def symbols(library):
    """Yields (object, name, type, section) of every symbol in a library."""
    # This format tells the section, which alone tells constants with pointers from variables.
    output = subprocess.run(["nm", "--format=sysv", library], check=True, capture_output=True,
                            text=True).stdout
    member = library
    for line in output.splitlines():
        heading = re.match(r"(?:Undefined )?[Ss]ymbols from (?:.*\[)?([^\]]*)\]?:", line)
        if heading:
            member = heading.group(1)
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 7 and fields[0] != "Name":
            yield member, fields[0], fields[2], fields[6]


def check(libraries, allowed_libraries):
    """@return the violations as lines"""
    defined = set(BASE) | set(LIBC)
    for library in libraries + allowed_libraries:
        for _, name, kind, _ in symbols(library):
            if kind.isupper() and kind != "U":
                defined.add(name)
    problems = []
    count = 0
    for library in libraries:
        for member, name, kind, section in symbols(library):
            count += 1
            if SANITIZER.fullmatch(name):
                continue
            if kind in "Uw":
                if name not in defined and not name.startswith(PREFIXES) \
                        and not COMPILER.fullmatch(name):
                    problems.append(f"{library}: {member} refers to {name}")
            elif MUTABLE.match(section) and not CONSTANT.match(section):
                problems.append(f"{library}: {member} keeps mutable data: {name}")
    if count == 0:
        problems.append("no symbols at all: are these static libraries?")
    return problems


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("--allow", action="append", default=[])
    arguments = parser.parse_args()
    problems = check(arguments.libraries, arguments.allow)
    for problem in sorted(set(problems)):
        print(problem)
    if problems:
        sys.exit("The core and its services must stay pure: see STYLE, The deterministic core.")


if __name__ == "__main__":
    main()
