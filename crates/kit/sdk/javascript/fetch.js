// Outside data, for the world `oracle`.

import host_fetch from 'bletchley:cryptlet/fetch@1.0.0';
import { utf8 } from './abi.js';

export class FetchError extends Error {
    constructor(kind, words) {
        super(words);
        this.kind = kind;
        // What the caller of the cryptlet hears, unless the code catches this.
        this.tag = 'unavailable';
    }
}

export const fetch = {
    get(source, path) {
        let response;
        try {
            response = host_fetch.get(source, path);
        } catch (error) {
            const { tag, val } = error.payload ?? error;
            const words = tag === 'too-large' ? `the answer is longer than ${val} bytes` : String(val ?? error);
            throw new FetchError(tag ?? 'unavailable', words);
        }
        const body = new Uint8Array(response.body);
        return { status: response.status, body, text: () => utf8.decode(body) };
    },
};
