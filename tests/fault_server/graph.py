"""Decides what each request does and is told; knows nothing of sockets."""

import json
import random
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from .pauses import Pauses, wait_of
from .quota import Quota
from .record import AnswerRow, Record, RequestRow, Violation
from .routes import Call, read_call, read_target
from .script import HEALTHY, WIRE, Fault, Settings
from .wire import Reply

CODES = {
    400: "BadRequest",
    401: "InvalidAuthenticationToken",
    403: "UnAuthorized",
    404: "ResourceNotFound",
    409: "DuplicateKey",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}
MOST_MIB = 7  # a client need not read more of an answer than this
MOST_HEADER = 1 << 14  # bytes, likewise
DATE = re.compile(r"\{date([+-]\d+)?\}")


@dataclass
class Told:
    """What one id is about to be told."""

    assignment: str
    row: AnswerRow
    retry_after: str | None


@dataclass
class Decision:
    """The answer to a request, and what it says to whom."""

    reply: Reply
    told: list[Told] = field(default_factory=list)


@dataclass
class Part:
    """The answer to one part of a batch."""

    name: str
    assignment: str
    fault: Fault

    @property
    def status(self) -> int:
        """202 unless scripted."""
        return 202 if self.fault.status is None else self.fault.status


class Graph:
    """One run: its script, its settings and its record. A reset makes a new one."""

    def __init__(self) -> None:
        self.record = Record()
        self.requests: list[Fault] = []
        self.ids: dict[str, list[Fault]] = {}
        self.attempts: dict[str, int] = {}
        self.token_uses: dict[str, int] = {}
        self.second = 0  # the Unix second of the answer being made, so that all its dates agree
        self.configure(Settings())

    def configure(self, settings: Settings) -> None:
        """Take new settings; quotas and pauses start anew, attempts and scripts stay."""
        self.settings = settings
        self.pauses = Pauses()
        self.quota = Quota(settings, time.monotonic())
        self.random = random.Random(settings.seed)

    def change(self, changes: Mapping[str, Any]) -> None:
        """Replace some settings."""
        self.configure(replace(self.settings, **changes))

    # One request, step by step.

    def admit(self, row: RequestRow) -> Fault:
        """Record a new request and take the next fault of the list for requests."""
        number = self.record.request_count
        self.record.request_count += 1
        row.number = number
        if self.settings.keep_requests:
            self.record.requests.append(row)
        return self.requests[number] if number < len(self.requests) else HEALTHY

    def decide(self, row: RequestRow, fault: Fault) -> Decision:
        """Do the work that is to be done, and choose the answer."""
        self.second = int(time.time() + self.settings.clock_offset)
        # A fault that acts before the body knows no more than the request line, and thus no part of a batch.
        call = read_target(row) if fault.before_body else read_call(row)
        for kind, detail in call.problems:
            self.violate(row, kind, detail)
        row.ids = call.ids
        for problem in self.pauses.early(call.ids, row.at, self.settings.pause_grace):
            self.violate(row, "early", problem)
        unauthorised = self.check_token(row)
        if fault.status is not None or fault.body is not None or fault.before_body:
            return self.whole(row, call, fault, "scripted")
        if call.status is not None:
            return self.whole(row, call, replace(fault, status=call.status, message=call.message), "refused")
        if unauthorised is not None:
            return self.whole(row, call, merge(unauthorised, fault), "token")
        return self.batch(row, call, fault) if call.batch else self.plain(row, call, fault)

    def violate(self, row: RequestRow, kind: str, detail: str) -> None:
        """Note a violation."""
        self.record.violations.append(Violation(row.number, kind, detail))

    def check_token(self, row: RequestRow) -> Fault | None:
        """The refusal, if the token is none that is accepted now."""
        scheme, _, token = (row.header("authorization") or "").partition(" ")
        accepted = self.settings.tokens
        challenge = Fault(status=401, headers=(("WWW-Authenticate", self.settings.www_authenticate),))
        if scheme.lower() != "bearer" or not token or (accepted is not None and token not in accepted):
            self.violate(row, "token", "no bearer token" if not token else "a token that is not accepted")
            return challenge
        place = list(self.token_uses).index(token) if token in self.token_uses else len(self.token_uses)
        self.token_uses[token] = uses = self.token_uses.get(token, 0) + 1
        # Requests under way when a token ends are no violation.
        lives = self.settings.revoke_after
        return challenge if place < len(lives) and uses > lives[place] else None

    def execute(self, row: RequestRow, assignment: str) -> None:
        """Do the work."""
        self.record.executions.setdefault(assignment, []).append(row.number)

    def next_fault(self, assignment: str) -> Fault:
        """What this attempt of the id is to meet: the quota, or its script."""
        wait = self.quota.take(time.monotonic())
        if wait is not None:
            text = self.settings.quota_retry_after
            shown = f"{wait + 0.0005:.3f}" if text == "auto" else text
            return Fault(status=429, headers=(("Retry-After", shown),) if shown is not None else ())
        attempt = self.attempts.get(assignment, 0)
        self.attempts[assignment] = attempt + 1
        script = self.ids.get(assignment, self.settings.every)
        return script[attempt] if attempt < len(script) else self.settings.default

    # The three kinds of answers.

    def whole(self, row: RequestRow, call: Call, fault: Fault, why: str) -> Decision:
        """Answer the request as such, without asking the scripts of its ids."""
        if fault.runs and call.status is None:
            for assignment in call.ids:
                self.execute(row, assignment)
        status = (200 if call.batch else 202) if fault.status is None else fault.status
        row.did = why
        reply = self.reply(row, status, fault, b"")
        how = "batch" if call.batch else "plain"
        return Decision(reply, [self.told(row, each, status, how, fault, reply) for each in call.ids])

    def plain(self, row: RequestRow, call: Call, request: Fault) -> Decision:
        """Answer a POST for one id."""
        [assignment] = call.ids
        fault = merge(self.next_fault(assignment), request)
        if fault.spoil:
            fault = replace(fault, body=fault.spoil, content_type="text/html", spoil="")
        if fault.runs if request.executed is None else request.executed:
            self.execute(row, assignment)
        status = 202 if fault.status is None else fault.status
        row.did = "plain"
        reply = self.reply(row, status, fault, b"")
        return Decision(reply, [self.told(row, assignment, status, "plain", fault, reply)])

    def batch(self, row: RequestRow, call: Call, request: Fault) -> Decision:
        """Answer a batch, part by part unless it is refused whole."""
        settings = self.settings
        if settings.refuse_batches == "whole":
            return self.whole(row, call, merge(Fault(status=400), request), "refused batch")
        if not settings.marked.isdisjoint(call.ids):
            return self.whole(row, call, merge(Fault(status=settings.marked_status), request), "marked")
        refused = Fault(status=400) if settings.refuse_batches == "parts" else None
        parts = [Part(name, each, refused or self.next_fault(each)) for name, each in call.parts]
        for part in parts:
            if part.fault.runs if request.executed is None else request.executed:
                self.execute(row, part.assignment)
        broken = [part.fault for part in parts if part.fault.breaks_wire]
        row.did = "batch"
        answered = self.misanswer(parts, request)
        body = self.batch_body(answered, request, row)
        reply = self.reply(row, 200, merge(request, broken[0]) if broken else request, body)
        told = [self.told(row, part.assignment, part.status, "part", part.fault, reply) for part in answered]
        if any(part.fault.spoil for part in answered):
            # Nobody can know that he is to wait from what cannot be read.
            told = [replace(each, retry_after=None) for each in told]
        return Decision(reply, told)

    def misanswer(self, parts: Sequence[Part], request: Fault) -> list[Part]:
        """The parts that are really answered, in their order."""
        chosen = set(self.random.sample(range(len(parts)), min(request.drop, len(parts))))
        kept = [part for place, part in enumerate(parts) if place not in chosen and not part.fault.drop]
        again = self.random.sample(kept, min(request.twice, len(kept)))
        again += [part for part in kept if part.fault.twice and part not in again]
        for part in again:
            status = request.twice_status if request.twice else part.fault.twice_status
            kept.append(part if status is None else Part(part.name, part.assignment, Fault(status=status)))
        if self.settings.shuffle if request.shuffle is None else request.shuffle:
            self.random.shuffle(kept)
        return kept

    # The bytes.

    def batch_body(self, parts: Sequence[Part], request: Fault, row: RequestRow) -> bytes:
        """The JSON of a batch answer."""
        names = [*(part.name for part in parts), *(str(9001 + n) for n in range(request.stranger))]
        faults = [*(part.fault for part in parts), *(HEALTHY for _ in range(request.stranger))]
        responses: list[dict[str, Any]] = []
        for name, fault in zip(names, faults, strict=True):
            response: dict[str, Any] = {"id": name, "status": 202 if fault.status is None else fault.status}
            if request.part_ids == "number" and name.isdigit():
                response["id"] = int(name)
            elif request.part_ids == "upper":
                response["id"] = name.upper()
            body = self.part_body(fault, row)
            headers = dict(self.expand(fault.headers))
            if body is not None:
                headers = {"Content-Type": "application/json", **headers}
                response["body"] = body
            case = request.header_case or fault.header_case
            if case is not None:
                headers = {(key.lower() if case == "lower" else key.upper()): value for key, value in headers.items()}
            responses.append({**response, "headers": headers})
        written = [json.dumps(response).encode() for response in responses]
        for place, fault in enumerate(faults):
            if fault.spoil:
                written[place] = written[place][:-1] + b', "trace": "' + fault.spoil.encode("latin-1") + b'"}'
        return b'{"responses": [' + b", ".join(written) + b"]}"

    def part_body(self, fault: Fault, row: RequestRow) -> Any:
        """The body of a part, None for none."""
        if fault.body is not None:
            try:
                return json.loads(fault.body)
            except ValueError:
                return fault.body
        return self.error(fault, row) if fault.status is not None and fault.status >= 400 else None

    def error(self, fault: Fault, row: RequestRow) -> dict[str, Any]:
        """A Graph error."""
        status = fault.status or 500
        code = CODES.get(status, "UnknownError") if fault.code is None else fault.code
        error: dict[str, Any] = {"code": code, "message": fault.message}
        if fault.inner is not None:
            inner: dict[str, Any] = {
                "date": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.second)),
                "request-id": str(uuid.UUID(int=row.number)),
                "client-request-id": row.header("client-request-id") or str(uuid.UUID(int=row.number)),
            }
            if fault.nested:
                inner = {"code": code, "message": fault.message, "status": str(status), fault.inner: inner}
            error[fault.inner] = inner
        return {"error": error}

    def expand(self, headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Headers with their dates filled in."""

        def date(match: re.Match[str]) -> str:
            return formatdate(self.second + int(match[1] or 0), usegmt=True)

        return [(name, DATE.sub(date, value)) for name, value in headers]

    def reply(self, row: RequestRow, status: int, fault: Fault, body: bytes) -> Reply:
        """The answer with its headers."""
        if fault.body is not None:
            body = fault.body.encode("latin-1", "ignore") if fault.content_type == "text/html" else fault.body.encode()
        elif status >= 400 and not body:
            body = json.dumps(self.error(replace(fault, status=status), row)).encode()
        scripted = self.expand(fault.headers)
        own = str(uuid.UUID(int=row.number))
        usual = [
            ("Date", formatdate(self.second, usegmt=True)),
            ("request-id", own),
            ("client-request-id", row.header("client-request-id") or own),
        ]
        if body or status == 200:
            usual.append(("Content-Type", fault.content_type))
        if self.settings.keep_alive == "off":
            usual.append(("Connection", "close"))
        names = {name.lower() for name, _ in scripted}
        headers = [*(each for each in usual if each[0].lower() not in names), *scripted]
        delay = fault.delay + self.settings.latency
        return Reply(status, headers, body, replace(fault, delay=delay))

    def told(self, row: RequestRow, assignment: str, status: int, how: str, fault: Fault, reply: Reply) -> Told:
        """Note what an id is about to be told."""
        headers = reply.headers if how != "part" else self.expand(fault.headers)
        text = next((value for name, value in headers if name.lower() == "retry-after"), None)
        return Told(assignment, AnswerRow(row.number, 0.0, status, how), text)

    # What follows once the answer goes out.

    def begin(self, decision: Decision) -> None:
        """The first byte goes out now."""
        now = time.monotonic()
        for told in decision.told:
            told.row.at = now
            self.record.answers.setdefault(told.assignment, []).append(told.row)

    def end(self, decision: Decision, whole: bool) -> None:
        """The last byte went out, so the waits asked for hold, from the first byte on."""
        date = next((value for name, value in decision.reply.headers if name.lower() == "date"), "")
        said: dict[str, set[int]] = {}
        fault = decision.reply.fault
        # Without a length nobody can see that the body of a refusal was cut.
        unseen = fault.framing == "eof" and fault.cut_body is not None and fault.end != "reset"
        for told in decision.told:
            told.row.whole = whole or (unseen and decision.reply.status >= 400)
            said.setdefault(told.assignment, set()).add(told.row.status)
        # A client that never got the answer, or that may not trust it, cannot know that it is to wait.
        if not whole or fault.pad_mib > MOST_MIB or fault.huge_header > MOST_HEADER:
            return
        for told in decision.told:
            wait = wait_of(told.retry_after, date) if told.retry_after is not None else None
            if wait is not None and wait > 0 and len(said[told.assignment]) == 1:
                self.pauses.ask(told.assignment, told.row.at, wait)
                if self.settings.shared_pause and wait <= self.settings.pause_ceiling:
                    self.pauses.ask_all(told.row.at, wait)


def merge(fault: Fault, wire: Fault) -> Fault:
    """The first fault with what the second one does to the wire."""
    changes = {name: getattr(wire, name) for name in WIRE if getattr(wire, name) != getattr(HEALTHY, name)}
    return replace(fault, drip_after=fault.drip_after or wire.drip_after, **changes)
