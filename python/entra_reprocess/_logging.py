"""The logger `entra_reprocess`, from the standard library's logging.

It is silent until an application listens to it. At DEBUG it has a line for each HTTP exchange, at WARNING one for each
pause and one for a run that stops. The line of an exchange comes with the fields `method`, `route` (without ids and
query), `status` or `error`, `items`, `request_id`, `client_request_id` and `duration` (s) as attributes of its record.
Where a record factory of the application has set one of that name, its value stays; the text of the line has ours.

All of it is logged in the thread that makes the call, or on its event loop; handlers may use the client again.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logging import Logger

DEBUG = 10
WARNING = 30
OFF = 255

_emitting: set[int] = set()
"""The threads that are in a handler of ours: what it calls is not logged again, or it would never end."""
_known: list[Logger] = []


def _logger() -> Logger | None:
    # A program that has not imported logging does not listen, and need not wait for its import here.
    if not _known:
        logging = sys.modules.get("logging")
        # Another thread may be importing it right now; what we need is then there from here on.
        if logging is None or not hasattr(logging, "NullHandler"):
            return None
        logger = logging.getLogger("entra_reprocess")
        # Without it logging prints warnings on stderr for those who have set up nothing.
        logger.addHandler(logging.NullHandler())
        _known.append(logger)
    return _known[0]


def level() -> int:
    """The lowest level at which anyone may listen; asked at the start of each call, and while it lasts."""
    logger = _logger()
    if logger is None or get_ident() in _emitting:
        return OFF
    return next((each for each in (DEBUG, WARNING) if logger.isEnabledFor(each)), OFF)


def emit(level: int, text: str, fields: dict[str, Any]) -> None:
    """Log one line."""
    logger = _logger()
    thread = get_ident()
    if logger is None or thread in _emitting or not logger.isEnabledFor(level):
        return
    _emitting.add(thread)
    try:
        path, line, function, stack = logger.findCaller()
        # The text is an argument: a percent sign in it means nothing.
        record = logger.makeRecord(logger.name, level, path, line, "%s", (text,), None, function, None, stack)
        # With `extra=` a name that a record factory has set already would cost the whole line.
        record.__dict__.update({name: value for name, value in fields.items() if name not in record.__dict__})
        logger.handle(record)
    finally:
        _emitting.discard(thread)
