// One exported function for each method of cryptlet.toml. It gets the inputs by name and returns the outputs by name;
// integers of more than 48 bits are BigInt. What it throws, the calling contract reverts with.
import { InvalidInput, log } from 'cryptlet';

/** @type {import('cryptlet').Methods['greet']} */
export function greet({ name }) {
    if (name === '') {
        throw new InvalidInput('greet needs a name');
    }
    log.info('greeting', name);
    return { greeting: `Hello, ${name}!` };
}

/** @type {import('cryptlet').Methods['total']} */
export function total({ amounts }) {
    return { sum: amounts.reduce((sum, amount) => sum + amount, 0n), count: amounts.length };
}
