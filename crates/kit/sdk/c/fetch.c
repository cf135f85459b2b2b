/* ---- outside data ---- */

/* `result<response, fetch-error>` in memory. */
struct wire_response {
    _Alignas(8) uint8_t is_error;
    _Alignas(8) union {
        struct {
            uint16_t status;
            struct bytes body;
        } response;
        struct {
            uint8_t fault;
            _Alignas(8) union {
                struct text words;
                uint64_t size_max;
            };
        } error;
    };
};

IMPORT("fetch", "get")
void host_fetch(const char *source, size_t source_size, const char *path, size_t path_size, struct wire_response *response);

struct response fetch_get(const char *source, struct text path) {
    struct wire_response wire;
    host_fetch(source, strlen(source), path.at, path.size, &wire);
    if (!wire.is_error) {
        return (struct response){FETCH_FINE, wire.response.status, wire.response.body, {"", 0}};
    }
    enum fetch_fault fault = (enum fetch_fault)(wire.error.fault + 1);
    struct text words = fault == FETCH_TOO_LARGE
        ? text_join(text_join(text_of("the answer is longer than "), text_of_number(wire.error.size_max)), text_of(" bytes"))
        : wire.error.words;
    return (struct response){fault, 0, {0, 0}, words};
}

