/* One function for each method of cryptlet.toml, its name in snake_case, from its inputs to its outputs. Outputs whose
 * first member, `error`, is set refuse the call: the calling contract reverts with their words. */
#include "cryptlet.h"

struct greet_outputs greet(struct greet_inputs inputs) {
    if (inputs.name.size == 0) {
        return (struct greet_outputs){.error = invalid_input("greet needs a name")};
    }
    log_info(text_join(text_of("greeting "), inputs.name));
    struct text hello = text_join(text_of("Hello, "), inputs.name);
    return (struct greet_outputs){.greeting = text_join(hello, text_of("!"))};
}

struct total_outputs total(struct total_inputs inputs) {
    struct total_outputs outputs = {.count = (uint32_t)inputs.amounts.size};
    for (size_t at = 0; at < inputs.amounts.size; at++) {
        outputs.sum += inputs.amounts.at[at];
    }
    return outputs;
}
