"""Quotas that refuse single items: a token bucket and a fixed window."""

from .script import Settings


class Quota:
    """Counts items; the clock is passed in."""

    def __init__(self, settings: Settings, now: float) -> None:
        self.kind = settings.quota
        self.size = settings.quota_size
        self.seconds = settings.quota_seconds
        self.left = self.size
        self.since = now

    def take(self, now: float) -> float | None:
        """None when one more item may pass, else the seconds until it may."""
        if self.kind is None:
            return None
        if self.kind == "bucket":
            self.left = min(self.size, self.left + (now - self.since) * self.size / self.seconds)
            self.since = now
        elif now - self.since >= self.seconds:
            self.left = self.size
            self.since += (now - self.since) // self.seconds * self.seconds
        if self.left >= 1:
            self.left -= 1
            return None
        if self.kind == "bucket":
            return (1 - self.left) * self.seconds / self.size
        return self.since + self.seconds - now
