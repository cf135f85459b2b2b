// One exported function for each method of cryptlet.toml. It gets the inputs by name and returns the outputs by name;
// integers of more than 48 bits are bigint. What it throws, the calling contract reverts with.
import { InvalidInput, log } from 'cryptlet';
import type { GreetInputs, GreetOutputs, TotalInputs, TotalOutputs } from 'cryptlet';

export function greet({ name }: GreetInputs): GreetOutputs {
    if (name === '') {
        throw new InvalidInput('greet needs a name');
    }
    log.info('greeting', name);
    return { greeting: `Hello, ${name}!` };
}

export function total({ amounts }: TotalInputs): TotalOutputs {
    return { sum: amounts.reduce((sum, amount) => sum + amount, 0n), count: amounts.length };
}
