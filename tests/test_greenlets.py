"""Under gevent and eventlet, which put greenlets in place of threads, and under trio, which has no asyncio loop.

The libraries are the real ones, each in a process of its own, since what they replace stays replaced.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from entra_reprocess.emulator import Emulator

from . import scripts

HEAD = """
    import sys
    library, when, kind, url = sys.argv[1:]

    def patch():
        if library == "gevent":
            from gevent import monkey
            monkey.patch_all()
        else:
            import eventlet
            eventlet.monkey_patch()

    if when == "before":
        patch()
    from entra_reprocess import AsyncClient, Client, CredentialError
    from tests.faults import assignment_ids
    if when == "after":
        patch()
    import threading, time
    from types import SimpleNamespace

    class Credential:
        '''Does what those of azure-identity do: HTTP, locks, sleep, threads, all of them replaced.'''
        asked = 0
        lock = threading.Lock()

        def get_token(self, *scopes, **options):
            import requests
            with self.lock:
                assert requests.get(f"{url}/beta/nothing", timeout=5).status_code == 401
                time.sleep(0.01)
                done = []
                thread = threading.Thread(target=done.append, args=[1])
                thread.start()
                thread.join()
                Credential.asked += len(done)
            return SimpleNamespace(token="emulator-token", expires_on=int(time.time()) + 3600)

    credential = {
        "text": "emulator-token",
        "callable": lambda: Credential().get_token().token,
        "object": Credential(),
    }[kind]
    ids = assignment_ids(40)
"""
libraries = pytest.mark.parametrize("library", ["gevent", "eventlet"])
whens = pytest.mark.parametrize("when", ["before", "after"])


def run(graph: Emulator, code: str, library: str, when: str, kind: str, timeout: float = 30) -> str:
    done = scripts.run(
        HEAD.replace("assignment_ids(40)", repr(graph.ids[:40])) + code, library, when, kind, graph.url, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@libraries
@whens
@pytest.mark.parametrize("kind", ["text", "callable", "object"])
def test_every_verb_works_whenever_it_was_patched(graph: Emulator, library: str, when: str, kind: str) -> None:
    code = """
    client = Client(credential, base_url=url)
    print(client.reprocess(ids[0]).status, client.reprocess_many(ids).counts["accepted"], len(client.states(ids)))
    print(sum(outcome.ok for outcome in client.iter_reprocess(ids)), len([*client.assignments()]))
    slow = (time.sleep(0.001) or item for item in ids)
    print(client.reprocess_many(slow, deadline=20).counts["accepted"])
    """
    assert run(graph, code, library, when, kind) == "accepted 40 40\n40 1000\n40\n"


@libraries
@whens
def test_a_fixed_token_is_asked_of_no_thread(graph: Emulator, library: str, when: str) -> None:
    code = """
    threading.stack_size(1 << 46)  # no thread can be started
    print(Client(credential, base_url=url).reprocess(ids[0]).status)
    """
    assert run(graph, code, library, when, "text") == "accepted\n"


@libraries
def test_what_a_credential_raises_is_said_at_once(graph: Emulator, library: str) -> None:
    code = """
    def fails():
        raise LookupError("no token here")
    started = time.monotonic()
    try:
        Client(fails, base_url=url).reprocess(ids[0])
    except CredentialError as error:
        print(repr(error.__cause__), time.monotonic() - started < 5)
    """
    assert run(graph, code, library, "before", "text") == "LookupError('no token here') True\n"


def test_the_hub_goes_on_where_a_thread_of_its_pool_makes_the_call(graph: Emulator) -> None:
    """As the README has it."""
    code = """
    import gevent
    ticks = []
    def tick():
        while True:
            ticks.append(1)
            gevent.sleep(0.005)
    gevent.spawn(tick)
    client = Client(credential, base_url=url, rate=100)
    report = gevent.get_hub().threadpool.apply(client.reprocess_many, (ids,))
    print(report.counts["accepted"], len(ticks) > 10)
    """
    assert run(graph, code, "gevent", "before", "object") == "40 True\n"


def test_the_hub_goes_on_where_a_thread_of_eventlet_makes_the_call(graph: Emulator) -> None:
    code = """
    import eventlet, eventlet.tpool
    ticks = []
    def tick():
        while True:
            ticks.append(1)
            eventlet.sleep(0.005)
    eventlet.spawn(tick)
    client = Client(credential, base_url=url, rate=100)
    report = eventlet.tpool.execute(client.reprocess_many, ids)
    print(report.counts["accepted"], len(ticks) > 10)
    """
    assert run(graph, code, "eventlet", "before", "object") == "40 True\n"


def test_asyncio_under_gevent(graph: Emulator) -> None:
    code = """
    import asyncio
    async def main():
        async with AsyncClient(credential, base_url=url) as client:
            return (await client.reprocess_many(ids)).counts["accepted"], (await client.reprocess(ids[0])).status
    print(*asyncio.run(main()))
    """
    assert run(graph, code, "gevent", "before", "object") == "40 accepted\n"


APPLICATION = """
import os
from entra_reprocess import Client, reprocess_many

class Credential:
    def get_token(self, *scopes, **options):
        from types import SimpleNamespace
        import time, requests
        requests.get(os.environ["GRAPH"] + "/beta/nothing", timeout=5)
        return SimpleNamespace(token="emulator-token", expires_on=int(time.time()) + 3600)

client = Client(Credential(), base_url=os.environ["GRAPH"])
ids = os.environ["IDS"].split()
if os.environ["PRELOADED"] == "yes":
    assert client.reprocess(ids[0]).ok  # so that the workers fork from a process with a runtime

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    counts = client.reprocess_many(ids).counts
    fixed = reprocess_many(ids, credential="emulator-token", base_url=os.environ["GRAPH"]).counts
    return [f"{counts['accepted']} {fixed['accepted']}".encode()]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs fork")
@pytest.mark.parametrize("preload", [False, True])
def test_a_worker_of_gunicorn(graph: Emulator, tmp_path: Path, free_port: int, preload: bool) -> None:
    import os

    (tmp_path / "app.py").write_text(APPLICATION)
    environment = {"GRAPH": graph.url, "IDS": " ".join(graph.ids[:40]), "PRELOADED": "yes" if preload else "no"}
    options = ["-k", "gevent", "-w", "1", "-b", f"127.0.0.1:{free_port}", *(["--preload"] if preload else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "app:application"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            body = b""
            until = time.monotonic() + 20
            while not body and time.monotonic() < until:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{free_port}", timeout=20) as answer:
                        body = answer.read()
                except ConnectionError:
                    time.sleep(0.05)
                except OSError as error:
                    if "refused" not in str(error):
                        raise
                    time.sleep(0.05)
        finally:
            process.terminate()
            out, _ = process.communicate(timeout=20)
    assert body == b"40 40", out


def test_trio_is_told_what_is_supported(graph: Emulator) -> None:
    code = """
    import trio
    from entra_reprocess import AsyncClient, Client
    from entra_reprocess.emulator import Emulator
    with Emulator(40) as graph:
        async def main():
            client = AsyncClient(graph.credential, base_url=graph.url)
            async def iterate():
                async for _ in client.iter_reprocess(graph.ids):
                    pass
            async def listed():
                async for _ in client.assignments():
                    pass
            for call in (
                lambda: client.reprocess(graph.ids[0]),
                lambda: client.reprocess_many(graph.ids),
                lambda: client.states(graph.ids),
                iterate,
                listed,
            ):
                try:
                    await call()
                except RuntimeError as error:
                    print(error)
            sync = Client(graph.credential, base_url=graph.url)
            report = await trio.to_thread.run_sync(sync.reprocess_many, graph.ids)
            print(report.counts["accepted"])
        trio.run(main)
    """
    done = scripts.run(code)
    text = (
        "AsyncClient needs a running asyncio event loop, and there is none in this thread; trio and curio are not"
        " supported: use Client in a thread (trio.to_thread.run_sync), or anyio with the asyncio backend"
    )
    assert done.stdout.splitlines() == [*[text] * 5, "40"], done.stderr
