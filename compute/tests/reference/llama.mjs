// Token ids and log-probabilities of a GGUF model by llama.cpp, for `base.py`.
//
//     node llama.mjs FOLDER MODEL PROMPTS IDS OUT
//
// FOLDER has `node-llama-cpp` in its `node_modules`. Writes to OUT: `llama_ids.json`, the token ids of each
// prompt; `llama.f32`, the log-probabilities behind the last token of each of IDS (the library takes seconds
// for one position); `llama_shape.json`, the vocabulary.

import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, path, promptsPath, idsPath, out] = process.argv.slice(2);
const library = pathToFileURL(`${folder}/node_modules/node-llama-cpp/dist/index.js`);
const { getLlama, LlamaLogLevel } = await import(library);

const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: path });
const SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

// Control tokens are put between the texts, so that no text becomes one.
const control = Object.fromEntries(
    ["<|im_start|>", "<|im_end|>"].map((text) => [text, model.tokenize(text, true)[0]]),
);
function ids(prompt) {
    if (typeof prompt === "string") return model.tokenize(prompt, false);
    const said = prompt[0][0] === "system" ? prompt : [["system", SYSTEM], ...prompt];
    const tokens = [];
    let text = "";
    const put = (token) => {
        if (text !== "") tokens.push(...model.tokenize(text, false));
        text = "";
        if (token !== undefined) tokens.push(token);
    };
    for (const [role, content] of said) {
        put(control["<|im_start|>"]);
        text += `${role}\n${content}`;
        put(control["<|im_end|>"]);
        text += "\n";
    }
    put(control["<|im_start|>"]);
    text += "assistant\n";
    put();
    return tokens;
}
const prompts = JSON.parse(readFileSync(promptsPath, "utf8"));
writeFileSync(`${out}/llama_ids.json`, JSON.stringify(prompts.map(ids)));

// One thread: several wait for each other without end where others compute as well.
const context = await model.createContext({ contextSize: 2048, flashAttention: false, threads: 1 });
const rows = [];
let vocab = 0;
for (const tokens of JSON.parse(readFileSync(idsPath, "utf8"))) {
    const sequence = context.getSequence();
    const last = [tokens.at(-1), { generateNext: { probabilities: true } }];
    const answers = await sequence.controlledEvaluate([...tokens.slice(0, -1), last]);
    const probabilities = answers.at(-1).next.probabilities;
    vocab = probabilities.size;
    const row = new Float32Array(vocab);
    for (const [token, probability] of probabilities) row[token] = Math.log(Math.max(probability, 1e-38));
    rows.push(Buffer.from(row.buffer));
    await sequence.clearHistory();
    sequence.dispose();
}
writeFileSync(`${out}/llama.f32`, Buffer.concat(rows));
writeFileSync(`${out}/llama_shape.json`, JSON.stringify(vocab));
process.exit(0);
