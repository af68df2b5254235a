#include "cli/cli.h"

#include "base/file.h"
#include "base/text.h"
#include "shape/json.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define CALL_TIMEOUT_MS 30000

int cli_fail(const struct err *err)
{
    fprintf(stderr, "berth: %s\n", err->text);
    return CLI_FAILED;
}

const char *cli_data_dir(const char *given)
{
    if (given != NULL) {
        return given;
    }
    const char *environment = getenv("BERTH_DATA");
    return environment != NULL && environment[0] != '\0' ? environment : "/var/lib/berth";
}

static int read_config(struct cli_context *context, const char *path, struct err *err)
{
    AUTO(buf_deinit) struct buf content = {0};
    int rc = file_read(AT_FDCWD, path, 65536, &content, err);
    if (rc != 0) {
        return rc;
    }
    struct shape_error problem;
    if (json_decode(&config_client_shape, buf_view(&content), &context->config_arena,
                    &context->config, &problem) != 0) {
        return err_set(err, ERR_CORRUPT, "'%s' is damaged: %s %s", path, problem.path,
                       problem.text);
    }
    return 0;
}

static int config_of_environment(struct cli_context *context, const char *missing, struct err *err)
{
    struct config_client config = {
        .endpoint = text_of(getenv("AWS_ENDPOINT_URL")),
        .region = text_of(getenv("AWS_REGION")),
        .access_key_id = text_of(getenv("AWS_ACCESS_KEY_ID")),
        .secret_access_key = text_of(getenv("AWS_SECRET_ACCESS_KEY")),
        .ca_file = text_of(getenv("AWS_CA_BUNDLE")),
    };
    if (config.region.data == NULL) {
        config.region = text_of(getenv("AWS_DEFAULT_REGION"));
    }
    if (config.endpoint.data == NULL || config.region.data == NULL ||
        config.access_key_id.data == NULL || config.secret_access_key.data == NULL) {
        return err_set(err, ERR_NOT_FOUND,
                       "no Berth found: '%s' is not there. Start one with `berth up`, name its "
                       "directory with --data, or set AWS_ENDPOINT_URL, AWS_REGION, "
                       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                       missing);
    }
    context->config = config;
    return 0;
}

int cli_context_open(struct cli_context *context, const char *data_dir, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%s/client.json", cli_data_dir(data_dir));
    int rc = read_config(context, path, err);
    if (rc == ERR_NOT_FOUND && data_dir == NULL) {
        rc = config_of_environment(context, path, err);
    } else if (rc == ERR_NOT_FOUND) {
        rc = err_set(err, rc, "'%s' is not there: no `berth up --data %s` has been ready yet", path,
                     data_dir);
    } else if (rc == ERR_DENIED) {
        rc = err_wrap(err, "the keys in the data directory belong to root; try sudo");
    }
    if (rc != 0) {
        return rc;
    }
    const struct client_options options = {
        .endpoint = context->config.endpoint.data,
        .ca_file = context->config.ca_file.data,
        .key_id = context->config.access_key_id.data,
        .secret = context->config.secret_access_key.data,
        .region = context->config.region.data,
    };
    return client_new(&options, &context->client, err);
}

void cli_context_close(struct cli_context *context)
{
    client_free(context->client);
    arena_deinit(&context->arena);
    arena_deinit(&context->config_arena);
    *context = (struct cli_context){0};
}

int cli_call(struct cli_context *context, const struct api_operation *operation,
             const void *request, void *out_response, struct err *err)
{
    int rc = client_call_wait(context->client, operation, request, CALL_TIMEOUT_MS, &context->arena,
                              out_response, err);
    if (rc == ERR_CLOSED) {
        return err_wrap(err, "no answer from %.*s; is Berth running?",
                        TEXT_FMT(context->config.endpoint));
    }
    return rc;
}
