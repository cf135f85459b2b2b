/* ---- outside data ---- */

enum fetch_fault { FETCH_FINE, FETCH_DENIED, FETCH_UNAVAILABLE, FETCH_TOO_LARGE };

struct response {
    enum fetch_fault fault; /* FETCH_FINE: status and body; any other: words */
    uint16_t status;
    struct bytes body;
    struct text words;
};

/* GET a path of a source of the manifest; the answer is recorded with the call. */
struct response fetch_get(const char *source, struct text path);

