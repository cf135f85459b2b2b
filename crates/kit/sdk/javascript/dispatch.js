// From the component's one function to the developer's functions.

import { decode, encode, tuple } from './abi.js';

const TAGS = ['invalid-input', 'denied', 'unavailable', 'internal'];

export function handler(methods) {
    const table = new Map(
        methods.map(({ name, run, inputs, outputs }) => {
            if (typeof run !== 'function') {
                throw new TypeError(`method \`${name}\` of cryptlet.toml must be an exported function`);
            }
            return [name, { run, inputs: tuple(inputs), outputs: tuple(outputs) }];
        }),
    );
    return {
        handle(name, input) {
            try {
                return answer(table.get(name), name, input);
            } catch (error) {
                throw refusal(error);
            }
        },
    };
}

function answer(method, name, input) {
    if (method === undefined) {
        throw { tag: 'invalid-input', message: `there is no method ${name}` };
    }
    const outputs = method.run(decode(method.inputs, new Uint8Array(input)));
    if (method.outputs.length === 0) {
        return new Uint8Array();
    }
    if (typeof outputs?.then === 'function') {
        throw new TypeError(`\`${name}\` must not be async`);
    }
    if (typeof outputs !== 'object' || outputs === null) {
        const names = method.outputs.map((output) => output.name).join(', ');
        throw new TypeError(`\`${name}\` must return an object with ${names}`);
    }
    return encode(method.outputs, outputs);
}

// What was thrown, as `types.cryptlet-error`.
function refusal(error) {
    const tag = TAGS.includes(error?.tag) ? error.tag : 'internal';
    const words = typeof error?.message === 'string' ? error.message : String(error?.val ?? error);
    return { tag, val: words };
}
