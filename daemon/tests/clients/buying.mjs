// Conversations with models of the network, as JavaScript's `openai` has them. Prints a bill of each answer.
import assert from "node:assert/strict";
import OpenAI from "openai";

const { url, key, models } = JSON.parse(process.env.OPENLEDGER_GATEWAY);
const messages = [{ role: "user", content: "Hello! Who are you?" }];
const client = new OpenAI({ baseURL: url, apiKey: key });

// Whatever a client waits for, a test ends.
setTimeout(() => {
  console.error("still waiting after 120 seconds");
  process.exit(1);
}, 120_000).unref();

const listed = (await client.models.list()).data.map(({ id }) => id);
const bills = [];
for (const model of models) {
  assert.ok(listed.includes(model), `${model} of ${listed}`);
  const asked = { model, messages, max_tokens: 40, seed: 11 };
  const whole = await client.chat.completions.create(asked);
  assert.ok(whole.usage.completion_tokens > 0);
  bills.push(whole.openledger);
  let text = "";
  let last = null;
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    last = chunk.openledger ?? last;
  }
  assert.equal(text, whole.choices[0].message.content);
  bills.push(last);
}
console.log(JSON.stringify(bills));
