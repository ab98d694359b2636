// What people do with JavaScript's `openai`, against a gateway with a tiny model.
import assert from "node:assert/strict";
import OpenAI from "openai";

const { url, key, poor, model, context } = JSON.parse(process.env.OPENLEDGER_GATEWAY);
const messages = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "Hello!" },
];
const client = new OpenAI({ baseURL: url, apiKey: key });
const chat = (more, of = client) => of.chat.completions.create({ model, messages, max_tokens: 24, seed: 11, ...more });

// Whatever a client waits for, a test ends.
setTimeout(() => {
  console.error("still waiting after 120 seconds");
  process.exit(1);
}, 120_000).unref();

async function refused(kind, code, call) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof kind, `${error}`);
    assert.equal(error.code, code);
    return true;
  });
}

// Models.
const listed = await client.models.list();
assert.deepEqual(listed.data.map(({ id }) => id), [model]);
assert.equal((await client.models.retrieve(model)).object, "model");

// A conversation, whole and as a stream.
const whole = await chat();
const said = whole.choices[0].message.content;
assert.ok(said.length > 0 && ["stop", "length"].includes(whole.choices[0].finish_reason));
let text = "";
let usage = null;
for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, said);
assert.deepEqual(usage, whole.usage);
const final = await client.chat.completions.stream({ model, messages, max_tokens: 24, seed: 11 }).finalContent();
assert.equal(final, said);

// Several answers, stop strings, and how likely tokens were.
const several = await chat({ n: 2, temperature: 1.2, top_p: 0.9, stop: [said.slice(3, 5), "never"] });
assert.equal(several.choices.length, 2);
const scored = await chat({ logprobs: true, top_logprobs: 2, max_tokens: 3 });
assert.equal(scored.choices[0].logprobs.content[0].top_logprobs.length, 2);

// A text that is gone on with.
const go = await client.completions.create({ model, prompt: "Once", max_tokens: 6 });
assert.equal(go.object, "text_completion");

// Errors, as the client tells them apart.
await refused(OpenAI.NotFoundError, "model_not_found", () => chat({ model: "gpt-4o" }));
const long = [{ role: "user", content: "word ".repeat(context) }];
await refused(OpenAI.BadRequestError, "context_length_exceeded", () => chat({ messages: long }));
await refused(OpenAI.BadRequestError, "unsupported_parameter", () => chat({ response_format: { type: "json_object" } }));
const stranger = new OpenAI({ baseURL: url, apiKey: "sk-guess" });
await refused(OpenAI.AuthenticationError, "invalid_api_key", () => chat({}, stranger));

// A key without a budget asks what is free.
assert.equal((await chat({}, new OpenAI({ baseURL: url, apiKey: poor }))).choices.length, 1);

// Whoever hangs up is not waited for.
const stream = await chat({ stream: true, max_tokens: undefined, temperature: 0 });
for await (const chunk of stream) {
  assert.ok(chunk.id);
  break;
}
