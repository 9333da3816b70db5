"""Reads an event stream with httpx-sse, acknowledges each event and prints what came
of it as JSON: events.py URL ACKNOWLEDGE"""

import json
import sys

import httpx
from httpx_sse import connect_sse

url, acknowledge = sys.argv[1:]
events, error = [], False
try:
    with httpx.Client(timeout=20) as client:
        with connect_sse(client, "GET", url) as source:
            for e in source.iter_sse():
                # It takes a block of nothing but retry for an event, which it is not.
                if e.data or e.event != "message":
                    events.append([e.event, e.id, e.data])
                    httpx.post(f"{acknowledge}-{len(events)}")
except httpx.HTTPError as e:
    print(repr(e), file=sys.stderr)
    error = True
print(json.dumps({"events": events, "failed": error}))
