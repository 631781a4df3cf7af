"""Interpreter exit while a credential is still being asked: no crash, and nobody waits for it."""

from __future__ import annotations

import time

import pytest

from . import scripts

CODE = """
    import asyncio, signal, sys, threading, time
    from entra_reprocess import AsyncClient, Client, RunInterrupted

    kind, end, step = sys.argv[1], sys.argv[2], float(sys.argv[3])
    ids = [f"00000000-0000-4000-8000-{n:012x}" for n in range(40)]
    asked = threading.Event()

    def waits_for_somebody():
        asked.set()
        # As a device code or a command does; every round gives the interpreter up and asks for it again.
        while True:
            time.sleep(step)

    async def waits_on_the_loop():
        asked.set()
        while True:
            await asyncio.sleep(step)

    credential = waits_on_the_loop if kind == "coroutine" else waits_for_somebody
    make = Client if kind == "sync" else AsyncClient
    client = make(credential, base_url="http://127.0.0.1:9")  # nothing is sent without a token
    deadline = 0.1 if end == "deadline" else None

    def run():
        called = client.reprocess_many(ids, progress=False, deadline=deadline)
        return called if kind == "sync" else asyncio.run(called)

    def interrupt():
        asked.wait()
        signal.raise_signal(signal.SIGINT) if sys.platform == "win32" else signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    if end == "interrupt":
        threading.Thread(target=interrupt, daemon=True).start()
        try:
            run()
        except KeyboardInterrupt:
            print("interrupted")
        if kind == "sync":
            client.close()
    elif end == "exit":
        threading.Thread(target=run, daemon=True).start()
        asked.wait()
        print("left")
        sys.exit()
    else:
        print("over", run().counts["not_attempted"])
"""
SAID = {"deadline": "over 40\n", "interrupt": "interrupted\n", "exit": "left\n"}

kinds = pytest.mark.parametrize("kind", ["sync", "async", "coroutine"])
ends = pytest.mark.parametrize("end", SAID)


def check(kind: str, end: str, step: float) -> float:
    started = time.monotonic()
    done = scripts.run(CODE, kind, end, str(step))
    assert (done.returncode, done.stdout) == (0, SAID[end]), done.stderr
    assert "Fatal" not in done.stderr
    return time.monotonic() - started


@ends
@kinds
@pytest.mark.parametrize("step", [0.001, 0.02, 0.2])
def test_exit_while_a_credential_is_asked(kind: str, end: str, step: float) -> None:
    # A crash takes an unlucky moment; with a short step, one of a few exits met it.
    seconds = [check(kind, end, step) for _ in range(3 if step < 0.1 else 1)]
    # The whole process, from its start; the best of a few, since the machine may be busy.
    assert min(seconds) < 10


@pytest.mark.soak
@pytest.mark.timeout(1800)
@ends
@kinds
@pytest.mark.parametrize("step", [0.001, 0.02, 0.2])
def test_exit_while_a_credential_is_asked_100_times(kind: str, end: str, step: float) -> None:
    for _ in range(100):
        check(kind, end, step)


def test_a_credential_that_ends_the_program_is_only_one_that_raises() -> None:
    """`sys.exit` in its thread reaches the caller as the cause of the error, like any other exception."""
    code = """
        import sys
        from entra_reprocess import Client, CredentialError
        try:
            Client(lambda: sys.exit(3), base_url="http://127.0.0.1:9").reprocess("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b")
        except CredentialError as error:
            print(repr(error.__cause__))
    """
    done = scripts.run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "SystemExit(3)\n", "")


def test_a_thread_that_cannot_be_started_is_the_cause() -> None:
    code = """
        import threading
        from entra_reprocess import Client, CredentialError

        threading.stack_size(1 << 46)  # more than there are addresses
        try:
            Client(lambda: "t", base_url="http://127.0.0.1:9").reprocess("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b")
        except CredentialError as error:
            print(repr(error.__cause__))
    """
    done = scripts.run(code)
    assert done.stdout == 'RuntimeError("can\'t start new thread")\n', done.stderr


@pytest.mark.parametrize("way", ["sync", "async"])
def test_exit_while_a_thread_still_waits_for_an_id(way: str) -> None:
    """The deadline brought the report back; what reads the ids is left alone, and nobody waits for it at the end."""
    code = """
        import asyncio, sys, time
        from entra_reprocess import AsyncClient, Client
        def ids():
            yield "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"
            time.sleep(60)
        make = Client if sys.argv[1] == "sync" else AsyncClient
        called = make("token", base_url="http://127.0.0.1:9").reprocess_many(ids(), deadline=0.2)
        report = called if sys.argv[1] == "sync" else asyncio.run(called)
        print(len(report))
    """
    started = time.monotonic()
    done = scripts.run(code, way)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert time.monotonic() - started < 10
