#include "cli/commands.h"

const struct cli_command cli_commands[] = {
    {"env", "[--data DIR]", "print exports for the AWS CLI and the SDKs: eval \"$(berth env)\"",
     cli_env},
    {"aws", "[--data DIR] ARGUMENT...", "the AWS CLI, pointed here", cli_aws},
    {"ps", "[--data DIR] [--cluster NAME] [--all] [TASK [--json]]",
     "tasks, or one with its containers and when it came how far", cli_ps},
    {"logs", "[--data DIR] [--cluster NAME] [-f] TASK [CONTAINER]", "what a container wrote",
     cli_logs},
    {"exec", "[--data DIR] [--cluster NAME] TASK [--container NAME] [--] COMMAND [ARGUMENT...]",
     "run a command in a container, on this terminal", cli_exec},
    {"events",
     "[--data DIR] [-f] [--since 10m] [--cluster C] [--service S] [--task T]\n"
     "                    [--type task|deployment|service|instance] [--json]",
     "what happened, an event a line", cli_events},
    {"image", "load|ls|rm [--data DIR] [--name NAME] [FILE|NAME]", "the images of this node",
     cli_image},
    {"node", "ls|token|remove [--data DIR] [--uses N] [--expires SECONDS] [--force] [NODE]",
     "the hosts of this Berth, and tokens to join it", cli_node},
    {"spot", "interrupt|restore [--data DIR] [--cluster NAME] TASK|NODE",
     "take capacity of FARGATE_SPOT back, and give it again", cli_spot},
    {"capacity",
     "[--data DIR] [--cluster NAME] [--json]    how Auto Scaling groups stand\n"
     "       berth capacity terminate [--data DIR] [--cluster NAME] INSTANCE",
     "capacity providers and what scales them; give an instance up", cli_capacity},
    {"diagnose",
     "[--data DIR] [--cluster NAME] [--json]            what found no place lately\n"
     "       berth diagnose [--data DIR] [--cluster NAME] [--json] TASK       what became of it\n"
     "       berth diagnose [--data DIR] [--cluster NAME] [--json] SERVICE    why it is not "
     "steady\n"
     "       berth diagnose [--data DIR] [--cluster NAME] [--json] --task-definition F[:R]\n"
     "                      [--count N] [--launch-type EC2|FARGATE] [--capacity-provider NAME]...\n"
     "                      [--subnets ID,...] [--constraint EXPRESSION|distinctInstance]...\n"
     "                      [--strategy random|spread:FIELD|binpack:FIELD]... [--group NAME]\n"
     "                      [--cpu N] [--memory N] [--max-hosts N]    where its tasks would go",
     "why tasks are where they are, or nowhere, host by host", cli_diagnose},
    {"deploy",
     "[--data DIR] [--cluster NAME] SERVICE [--task-definition F[:R] | --file FILE]\n"
     "                    [--image CONTAINER=IMAGE]... [--count N] [--force] [--create]\n"
     "                    [--timeout 10m] [--json]",
     "change a service, watch the deployment, and see why when it fails", cli_deploy},
    {"plan",
     "[--data DIR] [--cluster NAME] SERVICE [--task-definition F[:R] | --file FILE]\n"
     "                  [--image CONTAINER=IMAGE]... [--count N] [--force] [--create] [--json]",
     "what berth deploy with the same arguments would do", cli_plan},
    {"doctor", "[--data DIR]", "what this host lacks, and how to get it", cli_doctor},
};
const size_t cli_command_count = ARRAY_LEN(cli_commands);
