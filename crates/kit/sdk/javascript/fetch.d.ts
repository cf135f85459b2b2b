
export class FetchError extends Error {
    kind: 'denied' | 'unavailable' | 'too-large';
}

export interface Response {
    status: number;
    body: Uint8Array;
    text(): string;
}

export const fetch: {
    /**
     * GET a path of a source of the manifest; the answer is recorded with the call. An answer of any status is a
     * response, anything else is thrown as a FetchError.
     */
    get(source: string, path: string): Response;
};
