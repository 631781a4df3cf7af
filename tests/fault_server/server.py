"""Listens: one port for the client under test, one for the test that scripts and asks."""

import asyncio
import contextlib
import itertools
import json
import time
from typing import Any

from . import wire
from .graph import Graph
from .record import RequestRow, Violation
from .script import faults_from_json, settings_from_json

HEAD_LIMIT = 1 << 20
CONTROL_LIMIT = 1 << 30


class Server:
    """Both listeners and the run that they share."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.connections = itertools.count(1)

    async def listen(self) -> tuple[int, int]:
        """Open both ports; returns their numbers, Graph's first."""
        graph = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=HEAD_LIMIT, backlog=1024)
        control = await asyncio.start_server(self.control, "127.0.0.1", 0, limit=CONTROL_LIMIT)
        self.listeners = graph, control
        return graph.sockets[0].getsockname()[1], control.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the client under test."""
        connection = next(self.connections)
        self.graph.record.connection_count += 1
        # A write is then done when the kernel has it, which makes "after N bytes" true.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            for place in itertools.count():
                head = await wire.read_head(reader)
                if head is None or not await self.exchange(connection, place, head, reader, writer):
                    break
        except wire.MalformedError as e:
            self.graph.record.violations.append(Violation(-1, "http", str(e)))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left; what it sent is recorded
        finally:
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()

    async def exchange(
        self, connection: int, place: int, head: wire.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request and its answer; returns whether the connection goes on."""
        graph = self.graph  # a reset must not mix this exchange into the next run
        row = RequestRow(-1, connection, time.monotonic(), head.method, head.path, head.headers)
        stale = graph.settings.keep_alive == "stale" and place > 0
        if stale:
            # No script is used up: to the client this request never arrived.
            row.did = "stale"
            if graph.settings.keep_requests:
                graph.record.requests.append(row)
            wire.reset(writer)
            return False
        fault = graph.admit(row)
        graph.record.in_flight += 1
        graph.record.peak_in_flight = max(graph.record.peak_in_flight, graph.record.in_flight)
        sent = wire.Sent()
        decision = None
        try:
            if not fault.before_body:
                row.did = "left while sending its body"
                row.body = (await reader.readexactly(wire.body_length(head))).decode("latin-1")
            decision = graph.decide(row, fault)
            fault = decision.reply.fault
            if fault.delay:
                await asyncio.sleep(fault.delay)
            graph.begin(decision)
            row.status = decision.reply.status
            await wire.send(reader, writer, decision.reply, sent)
        finally:
            graph.record.in_flight -= 1
            row.sent, row.whole, row.done_at = sent.size, sent.whole, time.monotonic()
            if decision is not None:
                graph.end(decision, sent.whole)
            if not sent.size:
                row.status = None
        if fault.end == "reset":
            wire.reset(writer)
            return False
        if not sent.whole or self.last(graph, head, fault.end, fault.framing):
            await wire.close(reader, writer)
            return False
        return True

    @staticmethod
    def last(graph: Graph, head: wire.Head, end: str, framing: str) -> bool:
        """Whether a whole answer ends the connection all the same."""
        return (
            end == "close"
            or framing == "eof"
            or graph.settings.keep_alive in ("off", "silent")
            or (head.header("connection") or "").lower() == "close"
            or head.header("transfer-encoding") is not None  # its body was not read
        )

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One command per line, one line in answer."""
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                try:
                    answer = self.command(json.loads(line))
                except (KeyError, TypeError, ValueError, AttributeError) as e:
                    answer = json.dumps({"error": f"{type(e).__name__}: {e}"})
                writer.write(answer.encode() + b"\n")
                await writer.drain()
            writer.close()

    def command(self, raw: dict[str, Any]) -> str:
        """Carry out one command; the answer is JSON."""
        match raw["do"]:
            case "reset":
                self.graph = Graph()
            case "set":
                self.graph.change(settings_from_json(raw["settings"]))
            case "script":
                # Nothing is taken before all of it is read, so that a mistake changes nothing.
                ids = {key: faults_from_json(each) for key, each in raw["ids"].items()}
                self.graph.requests += faults_from_json(raw["requests"])
                self.graph.ids.update(ids)
            case "record":
                return self.graph.record.to_json()
            case other:
                raise ValueError(f"no such command: {other}")
        return "{}"
