
import { Denied, Internal, Unavailable, clock, context, fetch, random } from 'cryptlet';

const echoed = (inputs) =>
    Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name.replace('a', 'b'), value]));

/** @type {any} */
export const echo = echoed;
/** @type {any} */
export const nest = echoed;

/** @type {import('cryptlet').Methods['world']} */
export function world({ path }) {
    const { height, caller } = context.current();
    const response = fetch.get('prices', path);
    return {
        now: BigInt(clock.now()),
        height: BigInt(height),
        caller,
        seed: random.bytes(32),
        price: `${response.status} ${response.text()}`,
    };
}

/** @type {import('cryptlet').Methods['failAs']} */
export function failAs({ how }) {
    switch (how) {
        case 'denied':
            throw new Denied('not you');
        case 'unavailable':
            throw new Unavailable('not now');
        case 'internal':
            throw new Error('my fault');
        default:
            return { small: 1 << 24 };
    }
}
