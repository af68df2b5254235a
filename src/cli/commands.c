#include "cli/commands.h"

const struct cli_command cli_commands[] = {
    {"env", "[--data DIR]", "print exports for the AWS CLI and the SDKs: eval \"$(berth env)\"",
     cli_env},
    {"aws", "[--data DIR] ARGUMENT...", "the AWS CLI, pointed here", cli_aws},
    {"ps", "[--data DIR] [--cluster NAME] [--all] [TASK]", "tasks, or one task's containers",
     cli_ps},
    {"logs", "[--data DIR] [--cluster NAME] [-f] TASK [CONTAINER]", "what a container wrote",
     cli_logs},
    {"image", "load|ls|rm [--data DIR] [--name NAME] [FILE|NAME]", "the images of this node",
     cli_image},
    {"node", "ls|token|remove [--data DIR] [--uses N] [--expires SECONDS] [--force] [NODE]",
     "the hosts of this Berth, and tokens to join it", cli_node},
    {"doctor", "[--data DIR]", "what this host lacks, and how to get it", cli_doctor},
};
const size_t cli_command_count = ARRAY_LEN(cli_commands);
