"""Starts the fault server as a process of its own, scripts it, and checks a run against what it recorded.

with FaultServer() as server:
    server.script(ids={first: [throttled("1")], second: [reset(executed=True)]})
    ...  # run the client against server.url
    record = server.record()
    assert record.violations == []
    assert broken_invariants(record, ids, outcomes) == []
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .fault_server.record import AnswerRow, Record, RequestRow, Violation
from .fault_server.script import Fault, Settings, fault_to_json, settings_to_json

__all__ = [
    "AnswerRow",
    "Fault",
    "FaultServer",
    "Listener",
    "Record",
    "RequestRow",
    "Settings",
    "Violation",
    "assignment_ids",
    "broken_invariants",
    "close",
    "fail",
    "html",
    "redirect",
    "reset",
    "throttled",
    "truncated",
]

PATHS = {"beta": "accessPackageAssignments", "v1.0": "assignments"}
HTML = "<!DOCTYPE html><html><body><h1>Please sign in to the proxy</h1></body></html>"


def fail(status: int, code: str | None = None, message: str = "Scripted.", **more: Any) -> Fault:
    """A Graph error."""
    return Fault(status=status, code=code, message=message, **more)


def throttled(retry_after: str | None = "1", status: int = 429, **more: Any) -> Fault:
    """429 with this Retry-After as it stands; `{date+2}` is an HTTP date of the server's clock."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    return Fault(status=status, headers=(*headers, *more.pop("headers", ())), **more)


def reset(after: int = 0, *, executed: bool, **more: Any) -> Fault:
    """RST once so many bytes of the answer are out; `before_body=True`: without reading the request's body."""
    return Fault(cut=after, end="reset", executed=executed, **more)


def close(after: int = 0, *, executed: bool, **more: Any) -> Fault:
    """FIN once so many bytes of the answer are out."""
    return Fault(cut=after, end="close", executed=executed, **more)


def truncated(body: int, framing: str = "length", **more: Any) -> Fault:
    """The healthy answer, cut after so many bytes of its body; framing: length, chunked or eof.

    The 202 of a plain POST has no body to cut; give one, or `missing=` bytes.
    """
    return Fault(**{"cut_body": body, "framing": framing, "executed": True, **more})


def html(status: int = 200, *, executed: bool = True, **more: Any) -> Fault:
    """A proxy's page."""
    return Fault(status=status, body=HTML, content_type="text/html", executed=executed, **more)


def redirect(location: str, status: int = 307, **more: Any) -> Fault:
    """A redirect that nobody may follow."""
    return Fault(status=status, headers=(("Location", location),), **more)


def assignment_ids(count: int, first: int = 1) -> list[str]:
    """Distinct ids in lower-case 8-4-4-4-12 form."""
    return [f"00000000-0000-4000-8000-{n:012x}" for n in range(first, first + count)]


class FaultServer:
    """The server's process; `url` is the base URL for the client under test. Settings are those of `Settings`."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self.port = self._control_port = 0

    def start(self) -> Self:
        """Start the process and read its ports."""
        process = subprocess.Popen(
            [sys.executable, "-m", "fault_server"],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,  # its end tells the server that this process is gone
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process = process
        assert process.stdout is not None
        guard = threading.Timer(20, process.kill)
        guard.start()
        try:
            line = process.stdout.readline()
        finally:
            guard.cancel()
        try:
            self.port, self._control_port = (int(word) for word in line.split())
            self.set(**self._settings)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process, by force if need be."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """The base URL, without the version."""
        return f"http://127.0.0.1:{self.port}"

    @staticmethod
    def path(assignment: str, version: str = "beta") -> str:
        """Where the action of this assignment is."""
        return f"/{version}/identityGovernance/entitlementManagement/{PATHS[version]}/{assignment}/reprocess"

    def set(self, **settings: Any) -> None:
        """Change settings; quotas and pauses start anew."""
        self._command({"do": "set", "settings": settings_to_json(settings)})

    def script(
        self,
        *,
        ids: Mapping[str, Sequence[Fault | None]] | None = None,
        requests: Iterable[Fault | None] = (),
    ) -> None:
        """Set what these ids meet attempt by attempt, and append to what HTTP requests meet one by one.

        None is a healthy answer. The list of requests counts from the last reset.
        """
        self._command(
            {
                "do": "script",
                "ids": {key: [fault_to_json(fault) or {} for fault in each] for key, each in (ids or {}).items()},
                "requests": [fault_to_json(fault) for fault in requests],
            }
        )

    def record(self, settle: float = 0.0) -> Record:
        """Everything since the last reset; waits up to so many seconds for the requests in flight to end."""
        until = time.monotonic() + settle
        while True:
            record = Record.from_json(self._command({"do": "record"}))
            if not record.in_flight or time.monotonic() >= until:
                return record
            time.sleep(0.02)

    def reset(self, **settings: Any) -> None:
        """Forget scripts, settings and record, also those given at the start; connections stay open."""
        self._command({"do": "reset"})
        self.set(**settings)

    def _command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        # A connection of its own for each command makes this safe in threads and forked children.
        with (
            socket.create_connection(("127.0.0.1", self._control_port), timeout=30) as raw,
            raw.makefile("rwb") as file,
        ):
            file.write(json.dumps(command).encode() + b"\n")
            file.flush()
            answer: dict[str, Any] = json.loads(file.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer


class Listener:
    """A port that takes connections, keeps what they send first, and answers nothing."""

    def __init__(self) -> None:
        self.received: list[bytes] = []  # one entry for each connection
        self._closing = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Its port."""
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many came; exact after `close`, since the thread may lag behind."""
        return len(self.received)

    def close(self) -> None:
        """Stop listening."""
        # The thread sits in accept, which closing alone does not end everywhere.
        self._closing = True
        with socket.create_connection(("127.0.0.1", self.port), timeout=2):
            self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if self._closing:
                    return
                self.received.append(b"")
                connection.settimeout(0.2)
                try:
                    self.received[-1] = connection.recv(1 << 16)
                except OSError:
                    continue


def broken_invariants(
    record: Record, ids: Iterable[str], outcomes: Mapping[str, str], *, interrupted: bool = False
) -> list[str]:
    """What of I1 to I3 does not hold for these unique ids and their outcomes (id to status); empty when all is well.

    An execution that was answered with a whole 4XX or 5XX counts as settled: no client can see through that lie. So
    does one after which the id was answered 403 or 404, if that is what is reported.
    With `interrupted`, ids without an outcome, or reported `not_attempted`, may have been executed.
    """
    expected = set(ids)
    found = [f"I1: {each} has no outcome" for each in sorted(expected - outcomes.keys()) if not interrupted]
    found += [f"I1: {each} was not asked for" for each in sorted(outcomes.keys() - expected)]
    for each, status in outcomes.items():
        if status == "accepted" and not record.executed(each):
            found.append(f"I2: {each} is reported accepted and was never executed")
        if status in ("accepted", "unknown") or (interrupted and status == "not_attempted"):
            continue
        told = [answer for answer in record.answers.get(each, ()) if answer.whole and answer.status >= 400]
        denied = {answer.request for answer in told}
        if status in ("forbidden", "not_found"):
            last = max((answer.request for answer in told if answer.status in (403, 404)), default=-1)
            denied |= set(range(last))
        if hidden := [n for n in record.executions.get(each, ()) if n not in denied]:
            found.append(f"I3: {each} is reported {status} and was executed by the requests {hidden}")
    return found
