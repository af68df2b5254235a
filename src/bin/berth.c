// The program `berth`: finds the command and runs it.

#include "bin/commands.h"
#include "bin/node.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static const struct cli_command own_commands[] = {
    {"up",
     "[--data DIR] [--listen ADDR:PORT] [--region REGION] [--zone ZONE] [--on-exit stop|keep]\n"
     "                [--cluster NAME] [--capacity FARGATE,FARGATE_SPOT] [--vpc-cidr CIDR]\n"
     "                [--bridge-cidr CIDR] [--dynamic-host-ports 49153-65535]\n"
     "                [--environment-files DIR|URL]\n"
     "                [--cpu-units N] [--memory-mib N] [--container-pids 4096]\n"
     "                [--spot-fallback]\n"
     "                [--disk-reserve-mib N] [--keep-output 24h] [--output-mib 4096]\n"
     "                [--remove-unused-images AGE] [--cleanup-interval 30m]\n"
     "                [--spot-interruption-rate 5%]\n"
     "                [--any-credentials] [--keep-stopped-tasks 7d] [--healthy-after 40s]\n"
     "                [--events-mib 16] [--scale-command PATH] [--scale-timeout 5m]\n"
     "                [--scaling-period 60s] [--provisioning-timeout 15m]\n"
     "                [--exec-idle-timeout 20m] [--strict]",
     "server and node in one process: the way to begin", bin_up},
    {"server",
     "[--data DIR] [--listen ADDR:PORT] [--session-listen ADDR:PORT] [--advertise NAME]\n"
     "                    [--region REGION] [--keep-stopped-tasks 7d] [--healthy-after 40s]\n"
     "                    [--spot-fallback] [--spot-interruption-rate 5%]\n"
     "                    [--events-mib 16] [--scale-command PATH] [--scale-timeout 5m]\n"
     "                    [--scaling-period 60s] [--provisioning-timeout 15m]\n"
     "                    [--exec-idle-timeout 20m]\n"
     "                    [--any-credentials] [--strict]",
     "the server alone; nodes join it with a token", bin_server},
    {"agent",
     "[--data DIR] [--join TOKEN] [--zone ZONE] [--name NAME] [--cluster NAME]\n"
     "                   [--capacity FARGATE,FARGATE_SPOT]\n"
     "                   [--auto-scaling-group NAME]\n"
     "                   [--bridge-cidr CIDR] [--dynamic-host-ports 49153-65535]\n"
     "                   [--environment-files DIR|URL]\n"
     "                   [--cpu-units N] [--memory-mib N] [--container-pids 4096]\n"
     "                   [--on-exit stop|keep]\n"
     "                   [--disk-reserve-mib N] [--keep-output 24h] [--output-mib 4096]\n"
     "                   [--remove-unused-images AGE] [--cleanup-interval 30m]",
     "the node alone; --join is needed once", bin_agent},
    {"debug", "dump [--data DIR]", "every stored record as a line of JSON, secrets masked",
     bin_debug},
};

static void show_commands(FILE *out, const struct cli_command *commands, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    }
}

static int help(FILE *out)
{
    fprintf(out, "Berth: Amazon ECS that runs anywhere.\n\nusage: berth COMMAND [OPTION...]\n\n");
    show_commands(out, own_commands, ARRAY_LEN(own_commands));
    show_commands(out, cli_commands, cli_command_count);
    fprintf(out, "\n`berth COMMAND --help` tells its options. Data is in --data DIR, else "
                 "$BERTH_DATA, else /var/lib/berth.\n");
    return out == stdout ? 0 : CLI_USAGE;
}

static const struct cli_command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(own_commands); i++) {
        if (strcmp(own_commands[i].name, name) == 0) {
            return &own_commands[i];
        }
    }
    for (size_t i = 0; i < cli_command_count; i++) {
        if (strcmp(cli_commands[i].name, name) == 0) {
            return &cli_commands[i];
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return help(stderr);
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0) {
        return help(stdout);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("berth %s\n", BERTH_VERSION);
        return 0;
    }
    const struct cli_command *command = find(argv[1]);
    if (command == NULL) {
        fprintf(stderr, "berth: there is no command '%s'; `berth help` lists them\n", argv[1]);
        return CLI_USAGE;
    }
    // `berth aws` hands all its options on.
    if (argc > 2 && strcmp(argv[2], "--help") == 0 && strcmp(command->name, "aws") != 0) {
        printf("usage: berth %s %s\n\n%s\n", command->name, command->usage, command->summary);
        return 0;
    }
    if (command->run == bin_agent) {
        node_keep_small(argv + 1);
    }
    int status = command->run(argc - 1, argv + 1);
    if (status == CLI_USAGE) {
        fprintf(stderr, "usage: berth %s %s\n", command->name, command->usage);
    }
    return status == CLI_OTHER ? CLI_USAGE : status;
}
