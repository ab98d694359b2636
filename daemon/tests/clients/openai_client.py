"""What people do with Python's `openai`, against a gateway with a tiny model."""

import asyncio
import json
import os
import signal

import openai
from openai import AsyncOpenAI, OpenAI

signal.alarm(120)
GATEWAY = json.loads(os.environ["OPENLEDGER_GATEWAY"])
MODEL = GATEWAY["model"]
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]

client = OpenAI(base_url=GATEWAY["url"], api_key=GATEWAY["key"])


def refused(kind, code, call, **arguments):
    try:
        call(**arguments)
    except openai.APIStatusError as error:
        assert type(error) is kind, (type(error), error)
        assert error.code == code, (error.code, error)
        return error
    raise AssertionError(f"{arguments} was answered")


# Models.
assert [model.id for model in client.models.list()] == [MODEL]
assert client.models.retrieve(MODEL).owned_by

# A conversation, whole.
chat = client.chat.completions.create
whole = chat(model=MODEL, messages=HELLO, max_tokens=24, seed=11)
message = whole.choices[0].message
assert message.role == "assistant" and message.content
assert whole.choices[0].finish_reason in ("stop", "length")
usage = whole.usage
assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens

# The same as a stream.
stream = chat(
    model=MODEL, messages=HELLO, max_tokens=24, seed=11, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == message.content, (text, message.content)
assert chunks[0].choices[0].delta.role == "assistant"
assert chunks[-1].usage == usage and chunks[-2].choices[0].finish_reason

# As the helper for streams puts it together.
with client.chat.completions.stream(model=MODEL, messages=HELLO, max_tokens=24, seed=11) as events:
    try:
        final = events.get_final_completion()
    except openai.LengthFinishReasonError as error:
        final = error.completion
assert final.choices[0].message.content == message.content

# Several answers, parts of text, stop strings.
parts = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}]}]
several = chat(model=MODEL, messages=parts, n=3, max_tokens=8, temperature=1.2, top_p=0.9)
assert [choice.index for choice in several.choices] == [0, 1, 2]
stop = message.content[3:5]
stopped = chat(model=MODEL, messages=HELLO, max_tokens=24, seed=11, stop=[stop])
assert stopped.choices[0].message.content == message.content.split(stop)[0]

# How likely tokens were.
scored = chat(model=MODEL, messages=HELLO, max_tokens=4, logprobs=True, top_logprobs=2, temperature=0)
for entry in scored.choices[0].logprobs.content:
    assert entry.logprob <= 0 and len(entry.top_logprobs) == 2 and isinstance(entry.bytes, list)

# Texts that are gone on with.
texts = client.completions.create(model=MODEL, prompt=["Once", "Twice"], max_tokens=6, logprobs=1, seed=1)
assert [choice.index for choice in texts.choices] == [0, 1]
assert len(texts.choices[0].logprobs.tokens) == len(texts.choices[0].logprobs.text_offset)
pieces = client.completions.create(model=MODEL, prompt="Once", max_tokens=6, seed=1, stream=True)
assert "".join(piece.choices[0].text for piece in pieces) == texts.choices[0].text

# Errors, as the client tells them apart.
refused(openai.NotFoundError, "model_not_found", chat, model="gpt-4o", messages=HELLO)
refused(openai.NotFoundError, "model_not_found", client.models.retrieve, model="gpt-4o")
long = [{"role": "user", "content": "word " * GATEWAY["context"]}]
refused(openai.BadRequestError, "context_length_exceeded", chat, model=MODEL, messages=long)
tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
error = refused(openai.BadRequestError, "unsupported_parameter", chat, model=MODEL, messages=HELLO, tools=tools)
assert error.param == "tools", error.param
error = refused(openai.BadRequestError, "invalid_value", chat, model=MODEL, messages=HELLO, temperature=3)
assert error.param == "temperature", error.param
stranger = OpenAI(base_url=GATEWAY["url"], api_key="sk-guess")
refused(openai.AuthenticationError, "invalid_api_key", stranger.models.list)
refused(openai.NotFoundError, "unknown_url", client.embeddings.create, model=MODEL, input="x")

# A key without a budget asks what is free.
poor = OpenAI(base_url=GATEWAY["url"], api_key=GATEWAY["poor"])
assert poor.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2).choices

# Whoever hangs up is not waited for.
with chat(model=MODEL, messages=HELLO, stream=True, temperature=0) as stream:
    next(iter(stream))


async def at_once():
    several = AsyncOpenAI(base_url=GATEWAY["url"], api_key=GATEWAY["key"])
    ask = several.chat.completions.create
    return await asyncio.gather(*(ask(model=MODEL, messages=HELLO, max_tokens=4, seed=n) for n in range(8)))


assert len(asyncio.run(at_once())) == 8
