// node build.mjs <core.wasm> <world> <out.wasm>: a core module to a component of a world.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [core, world, out] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const tools = createRequire(resolve(process.env.CRYPTLET_TOOLS ?? resolve(here, '../..'), 'package.json'));
const { componentEmbed, componentNew } = await import(pathToFileURL(tools.resolve('@bytecodealliance/jco')));

const embedded = await componentEmbed({
    binary: readFileSync(core),
    witSource: readFileSync(resolve(here, '../../../wit/cryptlet.wit'), 'utf8'),
    world,
    stringEncoding: 'utf8',
});
writeFileSync(out, await componentNew(embedded, []));
