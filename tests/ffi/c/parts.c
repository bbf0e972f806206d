/* Arguments in their encoded form: blobs, and what a chip runtime takes. */
#include "check.h"

static int sum(const mr_task_args_view *args, const mr_call_config *config,
               const mr_task_context *context, void *user) {
    uint64_t *result = (uint64_t *)user;
    CHECK(context->size >= sizeof *context && context->task == 0 && context->worker == 0);
    CHECK(context->attempt == 1 && context->members == 0 && context->member == 0);
    CHECK(context->cancelled(context) == 0 && context->barrier(context) == -1);
    context->store(context, 0, 5);
    CHECK(context->load(context, 0) == 0 && context->fetch_add(context, 0, 1) == 0);
    for (int32_t i = 0; i < args->scalar_count; i++) {
        *result += args->scalars[i];
    }
    if (args->tensor_count > 0) {
        *result += *(const uint64_t *)mr_view_data(args, 0) * mr_view_elements(args, 0);
        CHECK(mr_view_data(args, -1) == NULL && mr_view_data(args, args->tensor_count) == NULL);
        CHECK(mr_view_elements(args, args->tensor_count) == 0);
    }
    *result += (uint64_t)config->block_dim;
    if (*result == 13) {
        context->fail(context, "thirteen");
        return -3;
    }
    return *result == 14 ? 14 : 0;
}

static void blobs(void) {
    /* Two tensors and two scalars, byte for byte. */
    static const unsigned char golden[104] = {
        2,    0,    0,    0,    2,    0, 0, 0,                                     /* counts */
        0x88, 0x77, 0x66, 0x55, 0x44, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, /* data, shape */
        0,    0,    0,    0,    0,    0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, /* ndims, dtype */
        0,    0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0,    0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
        1,    0,    0,    0,    0,    0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint32_t shape[2] = {2, 3};
    mr_args *args;
    mr_tensor tensor;
    mr_task_args_view view;
    mr_call_config config;
    uint64_t space[32], value = 4, result = 0;
    size_t size, written, tensors, scalars;

    OK(mr_args_new(&args));
    OK(mr_blob_size(args, &size));
    CHECK(size == 8);
    OK(mr_tensor_init(&tensor, (void *)(uintptr_t)0x4455667788, MR_FLOAT16, shape, 2));
    OK(mr_args_add_tensor(args, &tensor, MR_INPUT));
    tensor = at(0);
    OK(mr_args_add_tensor(args, &tensor, MR_OUTPUT));
    OK(mr_args_add_scalar(args, 1));
    OK(mr_args_add_scalar(args, UINT64_MAX));
    OK(mr_args_count(args, &tensors, &scalars));
    CHECK(tensors == 2 && scalars == 2);
    OK(mr_blob_size(args, &size));
    CHECK(size == sizeof golden);
    memset(space, 0xaa, sizeof space);
    FAILS(MR_ERR_CAPACITY, "104", mr_blob_write(args, space, 103, &written));
    CHECK(space[0] == 0xaaaaaaaaaaaaaaaa);
    OK(mr_blob_write(args, (char *)space + 1, sizeof space - 1, &written)); /* at any address */
    CHECK(memcmp((char *)space + 1, golden, sizeof golden) == 0);
    OK(mr_blob_write(args, space, sizeof space, &written));
    CHECK(written == sizeof golden && memcmp(space, golden, sizeof golden) == 0);

    OK(mr_blob_read(space, written, &view));
    CHECK(view.tensor_count == 2 && view.scalar_count == 2);
    CHECK((const void *)view.tensors == &space[1] && (const void *)view.scalars == &space[11]);
    CHECK(view.tensors[0].dtype == MR_FLOAT16 && view.tensors[0].shapes[1] == 3);
    CHECK(view.scalars[1] == UINT64_MAX);
    OK(mr_blob_read(space, sizeof space, &view)); /* more bytes than it needs */
    for (size_t len = 0; len < written; len++) {
        FAILS(MR_ERR_ARGS, "blob", mr_blob_read(space, len, &view));
    }
    FAILS(MR_ERR_ARGUMENT, "not possible", mr_blob_read(space, SIZE_MAX, &view));
    FAILS(MR_ERR_ARGS, "aligned", mr_blob_read((char *)space + 4, 100, &view));
    ((int32_t *)space)[0] = -1;
    FAILS(MR_ERR_ARGS, "tensor_count", mr_blob_read(space, written, &view));
    ((int32_t *)space)[0] = INT32_MAX;
    FAILS(MR_ERR_ARGS, "tensor_count", mr_blob_read(space, written, &view));
    FAILS(MR_ERR_ARGS, "tensor_count", mr_run_from_blob(sum, &result, space, written, NULL));

    /* A function called on a blob. */
    OK(mr_call_config_init(&config));
    config.block_dim = 1;
    OK(mr_args_clear(args));
    tensor = at((uint64_t)(uintptr_t)&value);
    OK(mr_args_add_tensor(args, &tensor, MR_INPUT));
    OK(mr_args_add_scalar(args, 7));
    OK(mr_blob_write(args, space, sizeof space, &written));
    OK(mr_run_from_blob(sum, &result, space, written, &config));
    CHECK(result == 12);
    result = 1;
    FAILS(MR_ERR_BODY, "thirteen (it returned -3)",
          mr_run_from_blob(sum, &result, space, written, &config));
    result = 2;
    FAILS(MR_ERR_BODY, "it returned 14", mr_run_from_blob(sum, &result, space, written, &config));
    result = 0;
    OK(mr_run_from_blob(sum, &result, space, written, NULL));
    CHECK(result == 4 + 7 + 24);
    OK(mr_args_free(args));
}

/* A view as a chip runtime takes it: only what is in use is written. */
static void chip_args(void) {
    mr_tensor tensors[17];
    uint64_t scalars[129] = {5, 6};
    mr_task_args_view view = {2, 2, tensors, scalars};
    mr_chip_args out;
    const unsigned char *bytes = (const unsigned char *)&out;
    CHECK(sizeof out == 1672);
    for (int i = 0; i < 17; i++) tensors[i] = at(64 * (uint64_t)(i + 1));
    memset(&out, 0xaa, sizeof out);
    OK(mr_view_to_chip_args(&view, &out));
    CHECK(out.tensor_count == 2 && out.scalar_count == 2);
    CHECK(out.tensors[1].data == 128 && out.scalars[0] == 5 && out.scalars[1] == 6);
    CHECK(bytes[80] == 0xaa && bytes[639] == 0xaa && bytes[656] == 0xaa && bytes[1663] == 0xaa);
    memset(&out, 0xaa, sizeof out);
    view.tensor_count = 17;
    FAILS(MR_ERR_ARGS, "16", mr_view_to_chip_args(&view, &out));
    view.tensor_count = -1;
    FAILS(MR_ERR_ARGS, "-1", mr_view_to_chip_args(&view, &out));
    view.tensor_count = 0;
    view.scalar_count = 129;
    FAILS(MR_ERR_ARGS, "128", mr_view_to_chip_args(&view, &out));
    for (size_t i = 0; i < sizeof out; i++) CHECK(bytes[i] == 0xaa);
}

int main(void) {
    chip_args();
    blobs();
    puts("ok");
    return 0;
}
