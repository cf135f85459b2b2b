
struct world_outputs world(struct world_inputs inputs) {
    struct call_context call = context_current();
    struct response response = fetch_get("prices", inputs.path);
    if (response.fault != FETCH_FINE) {
        return (struct world_outputs){.error = {CRYPTLET_UNAVAILABLE, response.words}};
    }
    uint8_t *seed = allocate(32);
    random_bytes(seed, 32);
    struct text body = {(const char *)response.body.at, response.body.size};
    return (struct world_outputs){
        .now = clock_now(),
        .height = call.height,
        .caller = call.caller,
        .seed = {seed, 32},
        .price = text_join(text_join(text_of_number(response.status), text_of(" ")), body),
    };
}

struct fail_as_outputs fail_as(struct fail_as_inputs inputs) {
    if (text_equal(inputs.how, text_of("denied"))) {
        return (struct fail_as_outputs){.error = denied("not you")};
    }
    if (text_equal(inputs.how, text_of("unavailable"))) {
        return (struct fail_as_outputs){.error = unavailable("not now")};
    }
    if (text_equal(inputs.how, text_of("internal"))) {
        return (struct fail_as_outputs){.error = internal("my fault")};
    }
    return (struct fail_as_outputs){.small = 1 << 24};
}
