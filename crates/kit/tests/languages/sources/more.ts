
import { Denied, Internal, Unavailable, clock, context, fetch, random } from 'cryptlet';
import type { EchoOutputs, FailAsInputs, FailAsOutputs, NestOutputs, WorldInputs, WorldOutputs } from 'cryptlet';

function echoed<T>(inputs: object): T {
    const renamed = Object.entries(inputs).map(([name, value]) => [name.replace('a', 'b'), value]);
    return Object.fromEntries(renamed) as T;
}

export const echo = echoed<EchoOutputs>;
export const nest = echoed<NestOutputs>;

export function world({ path }: WorldInputs): WorldOutputs {
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

export function failAs({ how }: FailAsInputs): FailAsOutputs {
    switch (how) {
        case 'denied':
            throw new Denied('not you');
        case 'unavailable':
            throw new Unavailable('not now');
        case 'internal':
            throw new Internal('my fault');
        default:
            return { small: 1 << 24 };
    }
}
