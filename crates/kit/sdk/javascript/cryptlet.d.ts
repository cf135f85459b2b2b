/** Refuses the call: the caller's input is at fault. The words reach the contract. */
export class InvalidInput extends Error {
    constructor(words: string);
}
/** Refuses the call: the caller may not do this. */
export class Denied extends Error {
    constructor(words: string);
}
/** Says that an outside source did not answer; the host may try again. */
export class Unavailable extends Error {
    constructor(words: string);
}
/** Says that the cryptlet itself is at fault, as any other error does. */
export class Internal extends Error {
    constructor(words: string);
}

export const clock: {
    /** The as-of time of the call, in milliseconds since 1970. It does not advance while the call runs. */
    now(): number;
};

export interface CallContext {
    /** 32 bytes that identify this call and no other. */
    callId: Uint8Array;
    /** 32 bytes: the ledger whose contract calls. */
    ledger: Uint8Array;
    /** Height of the block that the call was made against. */
    height: number;
    /** Time of that block, in milliseconds since 1970. */
    blockTimeMs: number;
    /** Address of the contract that calls, 0x and 40 lower-case digits. */
    caller: string;
}

export const context: { current(): CallContext };

export const random: {
    /** The next bytes of a stream that is a function of the call: anyone can compute them. */
    bytes(size: number): Uint8Array;
};

export const log: {
    debug(...words: unknown[]): void;
    info(...words: unknown[]): void;
    warn(...words: unknown[]): void;
    error(...words: unknown[]): void;
};

export const utf8: {
    decode(bytes: Uint8Array): string;
    encode(text: string): Uint8Array;
};

/** Bytes as 0x and lower-case digits. */
export function hex(bytes: Uint8Array): string;
