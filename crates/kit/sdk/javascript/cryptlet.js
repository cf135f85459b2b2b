// What a cryptlet sees of the world: import it as 'cryptlet'.

import host_clock from 'bletchley:cryptlet/clock@1.0.0';
import host_context from 'bletchley:cryptlet/context@1.0.0';
import host_log from 'bletchley:cryptlet/log@1.0.0';
import host_random from 'bletchley:cryptlet/random@1.0.0';
import { hex, utf8 } from './abi.js';

export { utf8, hex };

class Refusal extends Error {
    constructor(tag, words) {
        super(words);
        this.tag = tag;
    }
}

export class InvalidInput extends Refusal {
    constructor(words) {
        super('invalid-input', words);
    }
}

export class Denied extends Refusal {
    constructor(words) {
        super('denied', words);
    }
}

export class Unavailable extends Refusal {
    constructor(words) {
        super('unavailable', words);
    }
}

export class Internal extends Refusal {
    constructor(words) {
        super('internal', words);
    }
}

export const clock = {
    now() {
        return Number(host_clock.now());
    },
};

export const context = {
    current() {
        const call = host_context.current();
        return {
            callId: new Uint8Array(call.callId),
            ledger: new Uint8Array(call.ledger),
            height: Number(call.height),
            blockTimeMs: Number(call.blockTimeMs),
            caller: hex(new Uint8Array(call.caller)),
        };
    },
};

export const random = {
    bytes(size) {
        return new Uint8Array(host_random.bytes(size));
    },
};

const emit = (level) => (...words) => host_log.emit(level, words.map(String).join(' '));
export const log = { debug: emit('debug'), info: emit('info'), warn: emit('warn'), error: emit('error') };

// What the engine lacks and packages expect.
globalThis.console = { ...log, log: log.info, trace: log.debug };
globalThis.TextEncoder ??= class {
    encode(text = '') {
        return utf8.encode(String(text));
    }
};
globalThis.TextDecoder ??= class {
    decode(bytes = new Uint8Array()) {
        return utf8.decode(new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength));
    }
};
