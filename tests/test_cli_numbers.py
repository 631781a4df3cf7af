"""The command: numbers that make no sense are refused in one line, and what ends it leaves no file behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from entra_reprocess import cli
from entra_reprocess.emulator import Emulator

from .test_cli import command

BAD = [
    (["--assignments", "-5"], "--assignments is -5; give a whole number from 0 to 10,000,000"),
    (["--assignments", str(10**12)], "--assignments is 1000000000000; give a whole number from 0 to 10,000,000"),
    (["--assignments", "9" * 100], "--assignments is far out of range; give a whole number from 0 to 10,000,000"),
    (["--port", "99999"], "--port is 99999; give a whole number from 0 to 65,535"),
    (["--port", "-1"], "--port is -1; give a whole number from 0 to 65,535"),
    (["--seed", "-1"], "--seed is -1; give a whole number from 0 to 18,446,744,073,709,551,615"),
    (["--page-size", "0"], "--page-size is 0; give a whole number from 1 to 10,000,000"),
    (["--latency", "-1"], "--latency is -1.0; give a number of seconds from 0 to 31,622,400"),
    (["--latency", "nan"], "--latency is nan; give a number of seconds"),
    (["--latency", "inf"], "--latency is inf; give a number of seconds"),
    (["--delivering", "-0.1"], "--delivering is -0.1; give a number of seconds"),
    (["--delivering", "1e18"], "--delivering is 1e+18; give a number of seconds"),
    (["--write-quota", "0/1"], "--write-quota takes 1 to 1,000,000,000 calls"),
    (["--write-quota=-3/1"], "--write-quota takes"),
    (["--write-quota", f"{10**12}/1"], "--write-quota takes"),
    (["--write-quota", "5/0"], "--write-quota takes"),
    (["--write-quota", "5/nan"], "--write-quota takes"),
]


@pytest.mark.parametrize(("arguments", "text"), BAD, ids=[" ".join(row[0])[:40] for row in BAD])
def test_a_number_out_of_its_range(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["emulator", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"entra-reprocess emulator: {text}")
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    "arguments", [["emulator", "--port", "x"], ["emulator", "--nothing"], ["nothing"], [], ["emulator", "--seed"]]
)
def test_what_is_no_argument_is_told_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("entra-reprocess")
    assert "--help" in err
    assert err.count("\n") == 1


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.mark.skipif(sys.platform == "win32", reason="these signals cannot be sent to one process there")
@pytest.mark.parametrize("number", SIGNALS)
def test_what_ends_it_leaves_no_file_behind(number: signal.Signals) -> None:
    with subprocess.Popen([command(), "emulator", "--tls"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        head = b"".join(process.stdout.readline() for _ in range(5)).decode()
        bundle = re.search(r"ca_bundle='([^']+)'", head)
        assert bundle is not None
        assert Path(bundle[1]).exists()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")
    assert b"executed 0 in 0 requests" in out
    assert not Path(bundle[1]).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_a_signal_that_is_ignored_stays_so() -> None:
    # As nohup starts a process.
    shell = f"trap '' HUP; exec '{command()}' emulator"
    with subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")


def test_handlers_are_as_they_were_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    results: list[int] = []
    with Emulator(1) as taken:
        arguments = ["emulator", "--port", taken.url.rpartition(":")[2]]
        results.append(cli.main(arguments))
        # A thread may set no handler, and the command works there all the same.
        thread = threading.Thread(target=lambda: results.append(cli.main(arguments)))
        thread.start()
        thread.join()
    assert results == [2, 2]
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert capsys.readouterr().err.count("cannot listen") == 2
