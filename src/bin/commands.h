#pragma once

/*
 * The commands that run the halves, or look into their store. Each returns an exit status as
 * cli/cli.h says.
 */

/** `berth up`: server and node in one process, in the foreground. */
int bin_up(int argc, char **argv);

/** `berth server`: the server alone. */
int bin_server(int argc, char **argv);

/** `berth agent`: the node alone. */
int bin_agent(int argc, char **argv);

/** `berth debug dump`: every stored record as a line of JSON. */
int bin_debug(int argc, char **argv);
