// The Solidity ABI: tuples of every type that a manifest may name.
// The host has checked that an input is the canonical encoding of what the manifest declares, so decoding trusts it.

const WORD = 32;
// Wider integers are BigInt: a Number would round them.
const NUMBER_BITS_MAX = 48;

/** Reads a list of [name, type]. */
export function tuple(parameters) {
    return parameters.map(([name, type]) => ({ name, type: parse(type) }));
}

function parse(type) {
    const array = /^(.*)\[(\d*)\]$/.exec(type);
    if (array !== null) {
        const inner = parse(array[1]);
        if (array[2] === '') {
            return { kind: 'list', name: type, inner, dynamic: true, head: WORD };
        }
        const length = Number(array[2]);
        const head = inner.dynamic ? WORD : length * inner.head;
        return { kind: 'array', name: type, inner, length, dynamic: inner.dynamic, head };
    }
    const [, kind, size] = /^([a-z]+)(\d*)$/.exec(type);
    if (kind === 'bytes' && size !== '') {
        return { kind: 'fixed', name: type, size: Number(size), dynamic: false, head: WORD };
    }
    const dynamic = kind === 'bytes' || kind === 'string';
    return { kind, name: type, bits: Number(size), dynamic, head: WORD };
}

/** Decodes a tuple into an object by name. */
export function decode(parameters, bytes) {
    const values = {};
    let at = 0;
    for (const { name, type } of parameters) {
        values[name] = value(type, bytes, 0, at);
        at += type.head;
    }
    return values;
}

// The value whose head is at this place of a sequence that starts at `base`.
function value(type, bytes, base, at) {
    if (!type.dynamic) {
        return fixed(type, bytes, at);
    }
    const start = base + low32(bytes, at);
    switch (type.kind) {
        case 'string':
            return utf8.decode(body(bytes, start));
        case 'bytes':
            return body(bytes, start).slice();
        case 'list':
            return sequence(type.inner, low32(bytes, start), bytes, start + WORD);
        default:
            return sequence(type.inner, type.length, bytes, start);
    }
}

function body(bytes, start) {
    return bytes.subarray(start + WORD, start + WORD + low32(bytes, start));
}

function sequence(type, length, bytes, base) {
    return Array.from({ length }, (_, index) => value(type, bytes, base, base + index * type.head));
}

function fixed(type, bytes, at) {
    switch (type.kind) {
        case 'bool':
            return bytes[at + WORD - 1] === 1;
        case 'address':
            return hex(bytes.subarray(at + 12, at + WORD));
        case 'fixed':
            return bytes.slice(at, at + type.size);
        case 'uint':
            return type.bits <= 32 ? low32(bytes, at) : narrow(type, wide(bytes, at));
        case 'int':
            return type.bits <= 32 ? low32(bytes, at) | 0 : narrow(type, BigInt.asIntN(256, wide(bytes, at)));
        default:
            return sequence(type.inner, type.length, bytes, at);
    }
}

function narrow(type, number) {
    return type.bits <= NUMBER_BITS_MAX ? Number(number) : number;
}

function low32(bytes, at) {
    return ((bytes[at + 28] << 24) | (bytes[at + 29] << 16) | (bytes[at + 30] << 8) | bytes[at + 31]) >>> 0;
}

function wide(bytes, at) {
    let number = 0n;
    for (let word = at - 28; word < at + 4; word += 4) {
        number = (number << 32n) | BigInt(low32(bytes, word));
    }
    return number;
}

/** Encodes an object by name as a tuple. */
export function encode(parameters, values) {
    const out = { bytes: new Uint8Array(256), size: 0 };
    const types = parameters.map(({ type }) => type);
    const names = parameters.map(({ name }) => name);
    put_sequence(out, types, names.map((name) => values[name]), names);
    return out.bytes.slice(0, out.size);
}

function put_sequence(out, types, values, names) {
    const base = out.size;
    let head = reserve(out, types.reduce((size, type) => size + type.head, 0));
    types.forEach((type, index) => {
        if (type.dynamic) {
            put_number(out.bytes, head, BigInt(out.size - base));
            put_tail(out, type, values[index], names[index]);
        } else {
            put_fixed(out.bytes, head, type, values[index], names[index]);
        }
        head += type.head;
    });
}

function put_tail(out, type, given, name) {
    if (type.kind === 'string' || type.kind === 'bytes') {
        const bytes = type.kind === 'bytes' ? bytes_of(type, given, name) : utf8.encode(text_of(type, given, name));
        put_length(out, bytes.length);
        const at = reserve(out, Math.ceil(bytes.length / WORD) * WORD);
        out.bytes.set(bytes, at);
        return;
    }
    const values = elements_of(type, given, name);
    if (type.kind === 'list') {
        put_length(out, values.length);
    }
    put_sequence(
        out,
        values.map(() => type.inner),
        values,
        values.map((_, index) => `${name}[${index}]`),
    );
}

function put_length(out, length) {
    // Reserved first: that may move the bytes.
    const at = reserve(out, WORD);
    put_number(out.bytes, at, BigInt(length));
}

function put_fixed(bytes, at, type, given, name) {
    switch (type.kind) {
        case 'bool':
            if (typeof given !== 'boolean') {
                throw wrong(type, given, name);
            }
            bytes[at + WORD - 1] = given ? 1 : 0;
            return;
        case 'address':
            if (typeof given !== 'string' || !/^0x[0-9a-fA-F]{40}$/.test(given)) {
                throw wrong(type, given, name);
            }
            for (let index = 0; index < 20; index += 1) {
                bytes[at + 12 + index] = parseInt(given.slice(2 + 2 * index, 4 + 2 * index), 16);
            }
            return;
        case 'fixed':
            bytes.set(bytes_of(type, given, name), at);
            return;
        case 'uint':
        case 'int':
            put_number(bytes, at, integer_of(type, given, name));
            return;
        default:
            elements_of(type, given, name).forEach((element, index) =>
                put_fixed(bytes, at + index * type.inner.head, type.inner, element, `${name}[${index}]`),
            );
    }
}

function integer_of(type, given, name) {
    if (typeof given !== 'bigint' && !Number.isSafeInteger(given)) {
        throw wrong(type, given, name);
    }
    const number = BigInt(given);
    const fits = type.kind === 'uint' ? BigInt.asUintN(type.bits, number) : BigInt.asIntN(type.bits, number);
    if (fits !== number) {
        throw wrong(type, given, name);
    }
    return number;
}

function text_of(type, given, name) {
    if (typeof given !== 'string') {
        throw wrong(type, given, name);
    }
    return given;
}

function bytes_of(type, given, name) {
    const fits = given instanceof Uint8Array && (type.size === undefined || type.size === given.length);
    if (!fits) {
        throw wrong(type, given, name);
    }
    return given;
}

function elements_of(type, given, name) {
    const elements = ArrayBuffer.isView(given) ? Array.from(given) : given;
    if (!Array.isArray(elements) || (type.length !== undefined && type.length !== elements.length)) {
        throw wrong(type, given, name);
    }
    return elements;
}

function wrong(type, given, name) {
    const shown = given instanceof Uint8Array ? `${given.length} bytes` : typeof given === 'object' ? typeof given : String(given);
    return new TypeError(`\`${name}\` must be ${type.name}, not ${shown.slice(0, 80)}`);
}

function reserve(out, size) {
    const at = out.size;
    out.size += size;
    if (out.size > out.bytes.length) {
        const grown = new Uint8Array(Math.max(out.size, 2 * out.bytes.length));
        grown.set(out.bytes.subarray(0, at));
        out.bytes = grown;
    }
    return at;
}

// Big-endian, negative numbers as two's complement.
function put_number(bytes, at, number) {
    let rest = BigInt.asUintN(256, number);
    for (let end = at + WORD - 1; rest > 0n; end -= 4) {
        const low = Number(rest & 0xffffffffn);
        bytes[end] = low;
        bytes[end - 1] = low >>> 8;
        bytes[end - 2] = low >>> 16;
        bytes[end - 3] = low >>> 24;
        rest >>= 32n;
    }
}

/** Bytes as 0x and lower-case digits. */
export function hex(bytes) {
    return '0x' + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// Arguments of one call of `fromCharCode`: more would overflow the engine's stack.
const CHUNK = 4096;

/** Text and its bytes. Whole runs are turned at once: a loop's step costs as much as a call of the engine's library. */
export const utf8 = {
    decode(bytes) {
        let plain = '';
        for (let at = 0; at < bytes.length; at += CHUNK) {
            plain += String.fromCharCode.apply(null, bytes.subarray(at, at + CHUNK));
        }
        if (!/[\x80-\xff]/.test(plain)) {
            return plain;
        }
        try {
            return decodeURIComponent(escape(plain));
        } catch {
            throw new TypeError('these bytes are not UTF-8');
        }
    },
    encode(text) {
        const plain = /[^\x00-\x7f]/.test(text) ? unescape(encodeURIComponent(text.toWellFormed())) : text;
        return Uint8Array.from(plain, (character) => character.charCodeAt(0));
    },
};
