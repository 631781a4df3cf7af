"""Who was asked to wait until when, and who came too early."""

import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

NUMBER = re.compile(r"\d+(\.\d+)?")


def wait_of(text: str, date: str) -> float | None:
    """Seconds that this Retry-After asks for, or None when a client is free to guess.

    A date counts from the `Date` of the same answer, since the clocks need not agree.
    """
    text = text.strip()
    if NUMBER.fullmatch(text):
        return float(text)
    try:
        return (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):  # TypeError: one of them has no zone
        return None


class Pauses:
    """Remembers each Retry-After given, by id, and one for all if that is wanted."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self.shared_from = 0.0
        self.shared_until = 0.0

    def ask(self, assignment: str, now: float, wait: float) -> None:
        """Note that this id is to wait."""
        self.until[assignment] = max(self.until.get(assignment, 0.0), now + wait)

    def ask_all(self, now: float, wait: float) -> None:
        """Note that everybody is to wait; the longest wait holds."""
        if now >= self.shared_until:
            self.shared_from = now
        self.shared_until = max(self.shared_until, now + wait)

    def early(self, ids: Iterable[str], now: float, grace: float) -> list[str]:
        """What is wrong with a request for these ids arriving now."""
        found = [f"{each} came {self.until[each] - now:.3f} s early" for each in ids if now < self.until.get(each, 0.0)]
        if self.shared_from + grace < now < self.shared_until:
            found.append(f"all were to wait for {self.shared_until - now:.3f} s more")
        return found
