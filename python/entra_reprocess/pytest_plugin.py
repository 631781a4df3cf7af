"""A pytest fixture with a running Graph emulator; pytest finds it by itself once the package is installed.

Neither the extension nor the client is imported before a test asks for the fixture: other test suites pay nothing.

Example:
    >>> import pytest
    >>> from entra_reprocess import reprocess_many
    >>> @pytest.mark.graph_emulator(assignments=20, write_quota=(10, 0.5))
    ... def test_the_nightly_job(graph_emulator):
    ...     report = reprocess_many(
    ...         graph_emulator.ids, base_url=graph_emulator.url, credential=graph_emulator.credential
    ...     )
    ...     assert report.counts["accepted"] == len(graph_emulator.executions) == 20
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ForwardRef

import pytest

if TYPE_CHECKING:
    from entra_reprocess.emulator import Emulator
else:
    # For `typing.get_type_hints`, which alone follows it; see `_hints`, which would be an import for nothing here.
    Emulator = ForwardRef("__import__('entra_reprocess.emulator', fromlist=['Emulator']).Emulator")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, for suites with --strict-markers."""
    config.addinivalue_line(
        "markers",
        "graph_emulator(assignments=100, **settings): the settings of the fixture graph_emulator,"
        " as entra_reprocess.emulator.Emulator takes them; the nearest marker has the last word",
    )


@pytest.fixture
def graph_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A running `entra_reprocess.emulator.Emulator`, set by the marker `graph_emulator`."""
    from entra_reprocess.emulator import Emulator

    settings: dict[str, Any] = {}
    # From the nearest to the farthest: function, class, module.
    for marker in request.node.iter_markers("graph_emulator"):
        if marker.args:
            raise pytest.UsageError("the marker graph_emulator takes keywords only, such as assignments=20")
        settings = {**marker.kwargs, **settings}
    with Emulator(**settings) as emulator:
        yield emulator
