// node build.mjs <source.js> <world> <out.wasm>: a cryptlet in JavaScript to a component that imports its world only.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const [source, world, out] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const tools = createRequire(resolve(process.env.CRYPTLET_TOOLS ?? resolve(here, '../..'), 'package.json'));
const { componentize } = tools('componentize-qjs');

const { component } = await componentize({
    witPath: resolve(here, '../../../wit'),
    world,
    jsSource: readFileSync(source, 'utf8'),
    jsPath: resolve(source),
    moduleRoot: resolve(here, '../..'),
    // The engine's own clock, randomness and output do not exist here: a use of them traps.
    stubWasi: true,
    sync: true,
    optSize: true,
    disableGc: true,
});
writeFileSync(out, component);
