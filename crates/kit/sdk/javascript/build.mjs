// node build.mjs <tools> <world>: bundles entry.js beside this file and makes it component.wasm, also beside this file.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const [tools, world] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const load = createRequire(resolve(tools, 'package.json'));
const esbuild = load('esbuild');

let bundle;
try {
    bundle = await esbuild.build({
        absWorkingDir: dirname(here),
        entryPoints: [resolve(here, 'entry.js')],
        outfile: resolve(here, 'bundle.js'),
        bundle: true,
        format: 'esm',
        platform: 'neutral',
        mainFields: ['module', 'main'],
        target: 'es2023',
        charset: 'utf8',
        legalComments: 'none',
        external: ['bletchley:*'],
        alias: { cryptlet: resolve(here, 'sdk.js') },
        logLevel: 'silent',
    });
} catch (error) {
    fail((await esbuild.formatMessages(error.errors ?? [], { kind: 'error', color: false })).join('\n') || String(error));
}
for (const line of await esbuild.formatMessages(bundle.warnings, { kind: 'warning', color: false })) {
    process.stdout.write(line);
}

const { componentize } = load('componentize-qjs');
try {
    const { component } = await componentize({
        witPath: resolve(here, 'wit'),
        world,
        jsSource: readFileSync(resolve(here, 'bundle.js'), 'utf8'),
        jsPath: resolve(here, 'bundle.js'),
        moduleRoot: here,
        // The engine's own clock, randomness and output do not exist here: a use of them traps.
        stubWasi: true,
        sync: true,
        optSize: true,
        disableGc: true,
    });
    writeFileSync(resolve(here, 'component.wasm'), component);
} catch (error) {
    fail(String(error.message ?? error));
}

function fail(words) {
    process.stderr.write(`${words}\n`);
    process.exit(1);
}
