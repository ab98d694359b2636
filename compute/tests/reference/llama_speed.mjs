// How fast llama.cpp reads and continues a prompt, for `serving.py`.
//
//     node llama_speed.mjs FOLDER MODEL THREADS
//
// FOLDER has `node-llama-cpp` in its `node_modules`. Prints tokens per second of processor time, of all
// threads together, as the example `serving` does: `decode`, behind a prompt of 32 tokens, and `prefill` of 512.

import { pathToFileURL } from "node:url";

const [folder, path, threads] = process.argv.slice(2);
const library = pathToFileURL(`${folder}/node_modules/node-llama-cpp/dist/index.js`);
const { getLlama, LlamaLogLevel } = await import(library);

const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error, maxThreads: 0 });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({ contextSize: 1024, batchSize: 512, threads: Number(threads) });
const sequence = context.getSequence();

function prompt(seed, length) {
    return Array.from({ length }, (_, at) => 100 + (seed * 104729 + at * at * 7919 + at * 31) % 40000);
}
function seconds() {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
}
// Tokens per second behind the first of `count`.
async function decode(count) {
    await sequence.clearHistory();
    let start = 0;
    let made = 0;
    for await (const _ of sequence.evaluate(prompt(0, 32), { temperature: 0, yieldEogToken: true })) {
        made += 1;
        if (made === 1) start = seconds();
        if (made === count) break;
    }
    if (made !== count) throw new Error(`${made} tokens instead of ${count}`);
    return (made - 1) / (seconds() - start);
}
async function prefill(count) {
    await sequence.clearHistory();
    const start = seconds();
    for await (const _ of sequence.evaluate(prompt(7, count), { temperature: 0, yieldEogToken: true })) break;
    return count / (seconds() - start);
}
await decode(32);
const speeds = { decode: await decode(128), prefill: await prefill(512), actual_threads: context.currentThreads };
console.log(JSON.stringify(speeds));
process.exit(0);
