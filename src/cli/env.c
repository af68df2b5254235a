#include "cli/commands.h"

#include "api/berth.h"
#include "base/text.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// In single quotes a shell takes everything literally but the quote itself.
static void print_export(const char *name, struct text value)
{
    printf("export %s='", name);
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] == '\'') {
            printf("'\\''");
        } else {
            putchar(value.data[i]);
        }
    }
    printf("'\n");
}

static int print_network(struct cli_context *context, struct err *err)
{
    const struct berth_describe_network_request request = {0};
    struct berth_describe_network_response network = {0};
    int rc =
        cli_call(context, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], &request, &network, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(buf_deinit) struct buf subnets = {0};
    for (size_t i = 0; i < network.subnets.count; i++) {
        buf_string(&subnets, i == 0 ? "" : ",");
        buf_text(&subnets, network.subnets.items[i].subnet_id);
    }
    print_export("BERTH_SUBNETS", buf_view(&subnets));
    print_export("BERTH_SECURITY_GROUP", network.security_group_id);
    return 0;
}

int cli_env(int argc, char **argv)
{
    static const struct option options[] = {{"data", required_argument, NULL, 'd'}, {0}};
    const char *data_dir = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'd') {
            return CLI_USAGE;
        }
        data_dir = optarg;
    }
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    if (cli_context_open(&context, data_dir, &err) != 0) {
        return cli_fail(&err);
    }
    print_export("AWS_ENDPOINT_URL", context.config.endpoint);
    print_export("AWS_ACCESS_KEY_ID", context.config.access_key_id);
    print_export("AWS_SECRET_ACCESS_KEY", context.config.secret_access_key);
    print_export("AWS_DEFAULT_REGION", context.config.region);
    print_export("AWS_REGION", context.config.region);
    if (context.config.ca_file.data != NULL) {
        print_export("AWS_CA_BUNDLE", context.config.ca_file);
    }
    if (data_dir != NULL) {
        AUTO(alloc_string) char *absolute = realpath(data_dir, NULL);
        print_export("BERTH_DATA", text_of(absolute == NULL ? data_dir : absolute));
    }
    // The keys are of use even while the server is down, so this part may fail.
    if (print_network(&context, &err) != 0) {
        fprintf(stderr, "berth: BERTH_SUBNETS is not set: %s\n", err.text);
    }
    return 0;
}

int cli_aws(int argc, char **argv)
{
    const char *data_dir = NULL;
    int at = 1;
    if (argc > 2 && strcmp(argv[1], "--data") == 0) {
        data_dir = argv[2];
        at = 3;
    }
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    if (cli_context_open(&context, data_dir, &err) != 0) {
        return cli_fail(&err);
    }
    const struct config_client *config = &context.config;
    setenv("AWS_ACCESS_KEY_ID", config->access_key_id.data, 1);
    setenv("AWS_SECRET_ACCESS_KEY", config->secret_access_key.data, 1);
    setenv("AWS_DEFAULT_REGION", config->region.data, 1);
    setenv("AWS_REGION", config->region.data, 1);
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("AWS_PROFILE");
    setenv("AWS_PAGER", "", 0);
    if (config->ca_file.data != NULL) {
        setenv("AWS_CA_BUNDLE", config->ca_file.data, 1);
    }
    // Older versions of the AWS CLI ignore AWS_ENDPOINT_URL, so the option is given always.
    char **arguments = alloc_array((size_t)(argc - at) + 4, sizeof(*arguments));
    size_t count = 0;
    arguments[count++] = alloc_string("aws");
    arguments[count++] = alloc_string("--endpoint-url");
    arguments[count++] = alloc_string(config->endpoint.data);
    for (; at < argc; at++) {
        arguments[count++] = argv[at];
    }
    execvp("aws", arguments);
    fprintf(stderr, "berth: cannot run the AWS CLI: %s. Install it with: apt-get install awscli\n",
            strerror(errno));
    return CLI_FAILED;
}
