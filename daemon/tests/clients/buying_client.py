"""Conversations with models of the network, as Python's `openai` has them. Prints a bill of each answer."""

import json
import os
import signal

from openai import OpenAI

signal.alarm(120)
GATEWAY = json.loads(os.environ["OPENLEDGER_GATEWAY"])
HELLO = [{"role": "user", "content": "Hello! Who are you?"}]

client = OpenAI(base_url=GATEWAY["url"], api_key=GATEWAY["key"])
listed = [model.id for model in client.models.list()]
bills = []
for model in GATEWAY["models"]:
    assert model in listed, (model, listed)
    asked = {"model": model, "messages": HELLO, "max_tokens": 40, "seed": 11}
    whole = client.chat.completions.create(**asked)
    assert whole.usage.completion_tokens > 0 and whole.choices[0].finish_reason in ("stop", "length")
    bills.append(whole.openledger)
    text, last = "", None
    for chunk in client.chat.completions.create(**asked, stream=True):
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        last = getattr(chunk, "openledger", None) or last
    assert text == whole.choices[0].message.content, (text, whole)
    bills.append(last)
print(json.dumps(bills))
