"""Streams answers with the SDKs of language models' vendors, acknowledges each word
and prints what came of them as JSON: llm.py URL ACKNOWLEDGE"""

import json
import sys

import anthropic
import httpx
import httpx2
import openai

base, acknowledge = sys.argv[1:]


def chat(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    answer = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    for chunk in answer:
        yield chunk.object, chunk.choices[0].delta.content or ""


def responses(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    for event in client.responses.create(model="m", input="hello", stream=True, background=True):
        yield event.type, event.delta if event.type == "response.output_text.delta" else ""


def messages(url):
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    with client.messages.stream(
        model="m", max_tokens=100, messages=[{"role": "user", "content": "hello"}]
    ) as stream:
        for event in stream:
            yield event.type, event.text if event.type == "text" else ""


answers = {}
for state in "whole", "broken":
    for api in chat, responses, messages:
        name = f"{state}-{api.__name__}"
        events, words, failed = [], [], False
        try:
            for kind, piece in api(f"{base}/{state}/{name}"):
                events.append(kind)
                if piece:
                    words.append(piece)
                    httpx.post(f"{acknowledge}/{name}-{len(words)}")
        except (openai.OpenAIError, anthropic.AnthropicError, httpx.HTTPError, httpx2.HTTPError) as e:
            print(name, repr(e), file=sys.stderr)
            failed = True
        answers[name] = {"events": events, "text": "".join(words), "failed": failed}
print(json.dumps(answers))
