#pragma once

#include "cli/cli.h"

/*
 * The functions behind cli_commands; only table.c of this folder needs them. Each prints its
 * result and returns an exit status as cli.h says.
 */

/** `berth env`: print exports for a shell. */
int cli_env(int argc, char **argv);

/** `berth aws`: the AWS CLI, pointed here. */
int cli_aws(int argc, char **argv);

/** `berth ps`: tasks, or one task with its containers. */
int cli_ps(int argc, char **argv);

/** `berth logs`: what a container wrote. */
int cli_logs(int argc, char **argv);

/** `berth exec`: a command in a container, on this terminal. */
int cli_exec(int argc, char **argv);

/** `berth events`: what happened to tasks, deployments, services and instances. */
int cli_events(int argc, char **argv);

/** `berth image`: load, ls, rm. */
int cli_image(int argc, char **argv);

/** `berth node`: ls, token, remove. */
int cli_node(int argc, char **argv);

/** `berth capacity`: how Auto Scaling groups stand; terminate. */
int cli_capacity(int argc, char **argv);
/** `berth spot`: interrupt, restore. */
int cli_spot(int argc, char **argv);

/** `berth diagnose`: why tasks are where they are, or nowhere. */
int cli_diagnose(int argc, char **argv);

/** `berth deploy`: change a service and show the deployment. */
int cli_deploy(int argc, char **argv);

/** `berth plan`: what `berth deploy` would do. */
int cli_plan(int argc, char **argv);

/** `berth doctor`: what this host lacks. */
int cli_doctor(int argc, char **argv);
