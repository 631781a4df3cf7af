"""Runs the server until its standard input ends, which it does when the parent dies."""

import asyncio
import os
import signal
import sys
import threading
import time

from .server import Server


def follow_parent() -> None:
    """End with the parent, however that ends."""
    sys.stdin.buffer.read()
    os._exit(0)


def watch_parent() -> None:
    """Likewise, for when a forked child of the parent keeps our standard input open."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


async def main() -> None:
    """Print both ports, then serve for ever."""
    # Ctrl-C in a terminal goes to the whole group; the test under way still needs its server then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = Server()
    ports = await server.listen()
    for follow in (follow_parent, watch_parent):
        threading.Thread(target=follow, daemon=True).start()
    print(*ports, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
