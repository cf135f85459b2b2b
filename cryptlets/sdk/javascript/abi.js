// The Solidity ABI for cryptlets in JavaScript: tuples of uint<N>, bool and string.
// The host has already checked that the input is the canonical encoding of what the manifest declares.

const WORD = 32;

/** Decodes a tuple. Numbers come as BigInt. */
export function decode(types, bytes) {
    return types.map((type, index) => {
        const at = index * WORD;
        if (type === 'string') {
            const start = Number(number(bytes, at));
            const length = Number(number(bytes, start));
            return text(bytes.subarray(start + WORD, start + WORD + length));
        }
        return type === 'bool' ? number(bytes, at) === 1n : number(bytes, at);
    });
}

/** Encodes a tuple. Numbers may be Number or BigInt. */
export function encode(types, values) {
    const tails = [];
    let tail_at = types.length * WORD;
    const head = types.map((type, index) => {
        if (type !== 'string') {
            return word(BigInt(values[index]));
        }
        const body = utf8(values[index]);
        const padded = new Uint8Array(Math.ceil(body.length / WORD) * WORD);
        padded.set(body);
        tails.push(word(BigInt(body.length)), padded);
        const at = tail_at;
        tail_at += WORD + padded.length;
        return word(BigInt(at));
    });
    const bytes = new Uint8Array(tail_at);
    let at = 0;
    for (const part of [...head, ...tails]) {
        bytes.set(part, at);
        at += part.length;
    }
    return bytes;
}

function number(bytes, at) {
    let value = 0n;
    for (let index = at; index < at + WORD; index += 1) {
        value = (value << 8n) | BigInt(bytes[index]);
    }
    return value;
}

function word(value) {
    const bytes = new Uint8Array(WORD);
    for (let index = WORD - 1; value > 0n; index -= 1) {
        bytes[index] = Number(value & 255n);
        value >>= 8n;
    }
    return bytes;
}

function text(bytes) {
    let escaped = '';
    for (const byte of bytes) {
        escaped += '%' + byte.toString(16).padStart(2, '0');
    }
    return decodeURIComponent(escaped);
}

function utf8(string) {
    const escaped = encodeURIComponent(string);
    const bytes = [];
    for (let at = 0; at < escaped.length; at += 1) {
        if (escaped[at] === '%') {
            bytes.push(parseInt(escaped.slice(at + 1, at + 3), 16));
            at += 2;
        } else {
            bytes.push(escaped.charCodeAt(at));
        }
    }
    return bytes;
}
