// The Solidity ABI for cryptlets in JavaScript: tuples of uint<N>, bool and string.
// The host has already checked that the input is the canonical encoding of what the manifest declares.
//
// Whole runs of bytes are turned at once: a step of a loop costs the interpreter about as much as a call of its library.

const WORD = 32;

/** Decodes a tuple. Unsigned integers of up to 32 bits come as Number, wider ones as BigInt. */
export function decode(types, bytes) {
    return types.map((type, index) => {
        const at = index * WORD;
        if (type === 'string') {
            const start = low32(bytes, at);
            return text(bytes.subarray(start + WORD, start + WORD + low32(bytes, start)));
        }
        if (type === 'bool') {
            return bytes[at + WORD - 1] === 1;
        }
        return Number(type.slice(4)) <= 32 ? low32(bytes, at) : wide(bytes, at);
    });
}

/** Encodes a tuple. Integers may be Number or BigInt. */
export function encode(types, values) {
    let size = types.length * WORD;
    const tails = types.map((type, index) => {
        if (type !== 'string') {
            return null;
        }
        const body = utf8(values[index]);
        const tail = { at: size, body };
        size += WORD + Math.ceil(body.length / WORD) * WORD;
        return tail;
    });
    const bytes = new Uint8Array(size);
    types.forEach((type, index) => {
        const tail = tails[index];
        put(bytes, index * WORD, tail === null ? values[index] : tail.at);
        if (tail !== null) {
            put(bytes, tail.at, tail.body.length);
            bytes.set(tail.body, tail.at + WORD);
        }
    });
    return bytes;
}

/** The string whose bytes these are, if each of them is one character (ASCII, Latin-1). */
export function latin1(bytes) {
    return String.fromCharCode.apply(null, bytes);
}

function low32(bytes, at) {
    return ((bytes[at + 28] << 24) | (bytes[at + 29] << 16) | (bytes[at + 30] << 8) | bytes[at + 31]) >>> 0;
}

function wide(bytes, at) {
    let value = 0n;
    for (let word = at - 28; word < at + 4; word += 4) {
        value = (value << 32n) | BigInt(low32(bytes, word));
    }
    return value;
}

function put(bytes, at, value) {
    let rest = BigInt(value);
    for (let end = at + WORD - 1; rest > 0n; end -= 4) {
        const low = Number(rest & 0xffffffffn);
        bytes[end] = low;
        bytes[end - 1] = low >>> 8;
        bytes[end - 2] = low >>> 16;
        bytes[end - 3] = low >>> 24;
        rest >>= 32n;
    }
}

function text(bytes) {
    const plain = latin1(bytes);
    return /[\x80-\xff]/.test(plain) ? decodeURIComponent(escape(plain)) : plain;
}

function utf8(string) {
    const plain = /[^\x00-\x7f]/.test(string) ? unescape(encodeURIComponent(string)) : string;
    return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}
