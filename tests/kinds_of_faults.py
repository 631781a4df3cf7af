"""Every kind of fault that the fault server knows, each drawn at random with its particulars."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Literal

from .faults import Fault, close, fail, html, redirect, reset, throttled, truncated

Draw = Callable[[Random], Fault]

FRAMINGS: list[Literal["length", "chunked", "eof"]] = ["length", "chunked", "eof"]
SHORT_WAITS = ["0", "0.001", "0.01", "0.03"]
NO_WAITS = ["-1", "NaN", "soon", "5,5", ""]
LONG_WAITS = ["86400", "1e30", "{date+7200}"]
SHAPES = ["", "[]", "null", "{}", '{"responses": 7}', '{"responses": [7]}', '{"responses": [{"id": "1"}]}', "{'"]

OF_REQUESTS: dict[str, Draw] = {
    "429": lambda chance: throttled(chance.choice(SHORT_WAITS)),
    "429 without Retry-After": lambda _: throttled(None),
    "429 with a Retry-After that means nothing": lambda chance: throttled(chance.choice(NO_WAITS)),
    "429 that asks for too long": lambda chance: throttled(chance.choice(LONG_WAITS)),
    "503 with Retry-After": lambda chance: throttled(chance.choice(SHORT_WAITS), 503),
    "5XX or 408": lambda chance: fail(chance.choice([500, 502, 503, 504, 408, 520])),
    "5XX from a proxy": lambda chance: html(chance.choice([500, 502, 503, 504]), executed=False),
    "5XX or 408 after the work was done": lambda chance: fail(
        chance.choice([500, 502, 503, 504, 408, 520]), executed=True
    ),
    "400, 413 or 424 for the batch": lambda chance: fail(chance.choice([400, 413, 424])),
    "409 or 501": lambda chance: fail(chance.choice([409, 501])),
    "a page": lambda chance: html(executed=chance.random() < 0.5),
    "the wrong shape": lambda chance: Fault(body=chance.choice(SHAPES), status=200),  # of a batch; else a success
    "a redirect": lambda chance: redirect("http://127.0.0.1:9/", chance.choice([301, 302, 303, 307, 308])),
    "reset before the body is read": lambda _: reset(0, executed=False, before_body=True),
    "reset without an answer": lambda chance: reset(0, executed=chance.random() < 0.5),
    "reset in the answer": lambda chance: reset(chance.randrange(1, 400), executed=True),
    "closed without an answer": lambda chance: close(0, executed=chance.random() < 0.5),
    "closed in the answer": lambda chance: close(chance.randrange(1, 400), executed=True),
    # Only what is not refused is executed: without a length, a refusal whose body is cut looks whole.
    "a body cut short": lambda chance: truncated(chance.randrange(60), chance.choice(FRAMINGS), executed=None),
    "bytes that never come": lambda chance: Fault(missing=chance.randrange(1, 50)),
    "parts left out": lambda chance: Fault(drop=chance.randrange(1, 20)),
    "parts answered twice": lambda chance: Fault(twice=chance.randrange(1, 9)),
    "parts answered twice, otherwise": lambda chance: Fault(
        twice=chance.randrange(1, 9), twice_status=chance.choice([404, 429, 500])
    ),
    "strangers": lambda chance: Fault(stranger=chance.randrange(1, 4)),
    "other spellings": lambda chance: Fault(
        header_case=chance.choice(["lower", "upper"]), part_ids=chance.choice(["number", "upper"])
    ),
    "another framing": lambda chance: Fault(framing=chance.choice(FRAMINGS)),
    "the last answer of its connection": lambda chance: Fault(end=chance.choice(["close", "reset"])),
    "too late": lambda _: Fault(delay=0.5, executed=True),
    "dripping": lambda chance: Fault(drip=0.1, drip_after=chance.randrange(300), executed=True),
    "too large": lambda chance: Fault(pad_mib=9, gzip=chance.random() < 0.5, executed=True),
    "a huge header": lambda chance: Fault(huge_header=chance.choice([2_000, 20_000, 500_000])),
}
"""What an HTTP request may meet, by the name under which a test counts it."""

OF_ITEMS: dict[str, Draw] = {
    "item 429": lambda chance: throttled(chance.choice(SHORT_WAITS)),
    "item 429 without Retry-After": lambda _: throttled(None),
    "item 429 with a Retry-After that means nothing": lambda chance: throttled(chance.choice(NO_WAITS)),
    "item 429 that asks for too long": lambda chance: throttled(chance.choice(LONG_WAITS)),
    "item 429 after the work was done": lambda chance: throttled(chance.choice(SHORT_WAITS), executed=True),
    "item 5XX or 408": lambda chance: throttled(
        chance.choice([None, *SHORT_WAITS]), chance.choice([500, 502, 503, 504, 408]), executed=chance.random() < 0.5
    ),
    "item 400": lambda _: fail(400),
    "item 403": lambda _: fail(403),
    "item 404": lambda chance: fail(404, chance.choice([None, ""])),
    "item 409": lambda chance: fail(409, inner=chance.choice([None, "innererror"]), nested=True),
    "item 204": lambda _: Fault(status=204),
    "item redirected": lambda _: Fault(status=302, executed=True),
    "item with an odd body": lambda chance: fail(400, body=chance.choice(["7", "[]", "x", json.dumps({"error": 7})])),
    "item left out": lambda _: Fault(drop=1),
    "item twice, otherwise": lambda chance: Fault(twice=1, twice_status=chance.choice([404, 500])),
    "item that cuts the answer": lambda chance: reset(chance.randrange(300), executed=True),
    "item that spoils the answer": lambda chance: Fault(spoil=chance.choice(["\xff", "\x01", '"', '"}]}'])),
}
"""What an assignment may meet, in a batch or in a request of its own."""

FINAL = {400: "rejected", 403: "forbidden", 404: "not_found", 409: "failed", 501: "failed"}
"""Statuses that settle an item, and how."""
