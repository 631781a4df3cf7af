"""The fixture and the marker that come with the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]


def test_the_fixture_gives_a_running_emulator(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from entra_reprocess import reprocess_many

        pytestmark = pytest.mark.graph_emulator(assignments=7, seed=3)

        def report_of(graph):
            return reprocess_many(graph.ids, base_url=graph.url, credential=graph.credential)

        def test_a_module_sets_it(graph_emulator):
            assert report_of(graph_emulator).counts["accepted"] == len(graph_emulator.executions) == 7

        @pytest.mark.graph_emulator(assignments=2, write_quota=(1, 0.2), retry_after="decimal")
        def test_the_nearest_marker_wins(graph_emulator):
            assert len(report_of(graph_emulator).accepted) == 2
            assert graph_emulator.counters["throttled_parts"] > 0

        @pytest.mark.graph_emulator(5)
        def test_places_are_refused(graph_emulator):
            pass

        @pytest.mark.graph_emulator(colour="red")
        def test_unknown_settings_are_refused(graph_emulator):
            pass
        """
    )
    result = pytester.runpytest_subprocess("--strict-markers")
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*takes keywords only*", "*colour*"], consecutive=False)


def test_nothing_is_imported_before_a_test_asks_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_of_the_package_is_there():
            loaded = {name for name in sys.modules if name.startswith("entra_reprocess")}
            assert loaded <= {"entra_reprocess", "entra_reprocess.pytest_plugin"}, loaded
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_marker_is_listed() -> None:
    done = subprocess.run([sys.executable, "-m", "pytest", "--markers"], capture_output=True, text=True, check=True)
    assert "@pytest.mark.graph_emulator(assignments=100, **settings)" in done.stdout
