"""Numbers of any size given to the emulator: its process goes on, and the range is named."""

from __future__ import annotations

from typing import Any

import pytest

from entra_reprocess import cli
from entra_reprocess.emulator import Emulator, Refusal

WHOLE = {
    "assignments": "0 to 10,000,000",
    "access_packages": "1 to 10,000,000",
    "users": "1 to 10,000,000",
    "seed": "0 to 18,446,744,073,709,551,615",
    "port": "0 to 65,535",
    "threads": "1 to 64",
    "token_life": "1 to 3,155,760,000",
    "clock_skew": "-3,155,760,000 to 3,155,760,000",
    "burst": "1 to 1,000,000,000",
    "page_size": "1 to 10,000,000",
}
SECONDS = ["latency", "wait", "delivering"]
# `burst` and `wait` belong to a quota.
QUOTA = {"write_quota": (1, 1.0)}


@pytest.mark.parametrize("number", [10**20, -(10**20), 10**400, -(10**400)], ids=["20", "-20", "400", "-400"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_number_out_of_range_is_refused_with_its_range(name: str, number: int) -> None:
    settings: dict[str, Any] = {**QUOTA, name: number}
    with pytest.raises(ValueError, match=f"{name} is .*from {WHOLE[name]}$"):
        Emulator(**settings)


@pytest.mark.parametrize("number", [-1, 10**12, 2**31 * 8], ids=str)
@pytest.mark.parametrize("name", ["assignments", "access_packages", "users", "page_size", "port", "threads", "burst"])
def test_one_that_fits_a_machine_word_too(name: str, number: int) -> None:
    settings: dict[str, Any] = {**QUOTA, name: number}
    with pytest.raises(ValueError, match=f"{name} is {number}; give a whole number from {WHOLE[name]}$"):
        Emulator(**settings)


@pytest.mark.parametrize("number", [-1, float("nan"), float("inf"), -float("inf"), 1e308, 10**400, 1e9], ids=str)
@pytest.mark.parametrize("name", SECONDS)
def test_seconds_out_of_range_are_refused_with_their_range(name: str, number: float) -> None:
    settings: dict[str, Any] = {**QUOTA, name: number}
    with pytest.raises(ValueError, match=f"{name} is .*give seconds, 0 or more and at most a year$"):
        Emulator(**settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"latency": (0, 1e308)}, "latency is 1"),
        ({"write_quota": (0, 1)}, "the calls of write_quota is 0"),
        ({"write_quota": (10**400, 1)}, "the calls of write_quota is far out of range"),
        ({"read_quota": (-1, 1)}, "the calls of read_quota is -1"),
        ({"read_quota": (1, 0)}, "the time of read_quota is 0"),
        ({"read_quota": (1, float("nan"))}, "the time of read_quota is NaN"),
        ({"states": {"Expired": -1}}, "states.*Expired.*is -1"),
        ({"states": {"Expired": 10**400}}, "states.*Expired.*is far out of range"),
        ({"unknown_id": Refusal(10**6, "", "")}, "the status of unknown_id is 1000000"),
    ],
    ids=str,
)
def test_so_are_those_inside_of_others(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Emulator(**settings)


@pytest.mark.parametrize("name", [*WHOLE, *SECONDS, "write_quota", "read_quota"])
@pytest.mark.parametrize("value", [True, "1", b"1", [1]], ids=str)
def test_what_is_no_number_is_named_by_its_type(name: str, value: Any) -> None:
    settings: dict[str, Any] = {**QUOTA, name: value}
    with pytest.raises(TypeError, match=name):
        Emulator(**settings)


def test_the_limits_themselves_are_good() -> None:
    Emulator(10_000_000, users=10_000_000, seed=2**64 - 1, threads=64, page_size=10_000_000, delivering=366 * 86_400.0)
    for skew in (-3_155_760_000, 3_155_760_000):
        with Emulator(0, clock_skew=skew, token_life=3_155_760_000, latency=0) as graph:
            assert graph.ids == []


@pytest.mark.parametrize("arguments", [["--assignments", "-5"], ["--assignments", str(10**12)], ["--seed", "-1"]])
def test_the_command_says_so_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(["emulator", *arguments])
    except SystemExit as ended:  # argparse ends so
        code = ended.code  # type: ignore[assignment]  # a number here
    assert code == 2
    assert arguments[0][2:] in capsys.readouterr().err
