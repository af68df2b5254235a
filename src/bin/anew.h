#pragma once

/**
 * Start this program anew with what the environment is now: same process id, same words, nothing
 * open but standard input, output and errors. Comes back only when that cannot be done, for example
 * because the program's file was replaced while it ran.
 *
 * @param words  the command and its options, as commands are given them; ends with NULL
 */
void anew(char *const *words);
