"""Warning without a cost for the run: a warning that cannot be shown is left out."""

from __future__ import annotations

import warnings


def warn(text: str) -> None:
    """Warn with a RuntimeWarning; raised only where the caller's filters turn it into an exception."""
    try:
        # Level 2 and more would name a file of ours, too; the caller's own line is not known to a generator.
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:
        raise
    except Exception:  # noqa: S110 - there is nowhere else to say it
        # Where stderr is closed, showing a warning raises ValueError.
        pass
