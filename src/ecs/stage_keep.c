#include "ecs/stage.h"

bool stage_blue_ready(const struct service_survey *survey, const struct service_standing *blue)
{
    int64_t desired = survey->record->desired_count;
    int64_t minimum = survey->record->configuration->minimum_healthy_percent;
    return blue != NULL && blue->healthy >= (desired * minimum + 99) / 100;
}

bool stage_keeps(const struct core *core, const struct service_survey *survey, int64_t deployment)
{
    struct stage_view view;
    return stage_open(core, survey, &view) && !view.back && view.record->blue == deployment &&
           view.record->stage != SERVICE_RECORD_STAGE_CLEAN_UP;
}

// Whether green is to have its tasks already, beside blue's.
static bool green_is_up(const struct stage_view *view)
{
    enum service_record_stage stage = view->record->stage;
    return (stage != SERVICE_RECORD_STAGE_RECONCILE_SERVICE &&
            stage != SERVICE_RECORD_STAGE_PRE_SCALE_UP) ||
           MUTANT("early-green");
}

void stage_keep(struct core_call *call, struct service_survey *survey,
                const struct stage_view *view)
{
    bool cleans = view->record->stage == SERVICE_RECORD_STAGE_CLEAN_UP && !view->stalled;
    if (cleans || MUTANT("touch-blue")) {
        service_gather(call, survey, survey->primary); // green, or blue on the way back
        return;
    }
    if (view->record->stage == SERVICE_RECORD_STAGE_RECONCILE_SERVICE && view->blue != NULL &&
        !view->stalled) {
        service_gather(call, survey, view->blue);
        return;
    }
    int32_t desired = survey->record->desired_count;
    // One at a time: a step of each together would be more than a transaction takes.
    size_t moved = view->blue == NULL ? 0 : service_keep(call, survey, view->blue, desired);
    bool green = green_is_up(view) && !view->back && !view->stalled && view->green != NULL;
    if (moved == 0 && green) {
        moved = service_keep(call, survey, view->green, desired);
    }
    if (moved > 0) {
        service_queue(call, survey->entry->key);
    }
}
