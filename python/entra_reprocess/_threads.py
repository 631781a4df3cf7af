"""Threads and locks of the system, also where a library has put greenlets in their place.

gevent (`monkey.patch_all`) and eventlet (`monkey_patch`) replace what is in the module `_thread`, before or after this
package is imported. A greenlet in place of a thread would never run: whoever waits here waits natively, and so does the
hub. The module is built into Python, so a second copy of it has what the first one had before anybody changed it.
"""

from __future__ import annotations

import _thread
from _frozen_importlib import BuiltinImporter, module_from_spec

_spec = BuiltinImporter.find_spec("_thread")
_own = _thread if _spec is None else module_from_spec(_spec)
if _spec is not None:
    BuiltinImporter.exec_module(_own)

start_new_thread = _own.start_new_thread
"""`_thread.start_new_thread`: a daemon thread that nobody waits for."""
allocate_lock = _own.allocate_lock
"""`_thread.allocate_lock`: a lock that blocks the whole thread."""
