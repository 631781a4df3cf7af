"""When these tests run: the SDKs are hundreds of megabytes, and `pytest tests` should not need them."""

from __future__ import annotations

import os

WANTED = os.environ.get("ENTRA_REPROCESS_SDK_TESTS") == "1"

# Collecting would import the SDKs, which come with the dependency group `sdk` only.
collect_ignore_glob = [] if WANTED else ["test_*.py"]
