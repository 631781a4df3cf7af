"""Tests of the installed package, against real servers on loopback."""

import pytest

# Their assertions are as telling as those of the tests themselves.
pytest.register_assert_rewrite("tests.held")
