"""The command."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import entra_reprocess
from entra_reprocess import cli, reprocess
from entra_reprocess.emulator import Emulator


def command() -> str:
    found = shutil.which("entra-reprocess", path=str(Path(sys.executable).parent))
    assert found is not None
    return found


def test_the_version() -> None:
    done = subprocess.run([command(), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"entra-reprocess {entra_reprocess.__version__}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_the_emulator_runs_until_ctrl_c() -> None:
    arguments = [command(), "emulator", "--assignments", "7", "--seed", "3", "--write-quota", "100/1"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        head = "".join(process.stdout.readline() for _ in range(4))
        settings = dict(re.findall(r"ENTRA_REPROCESS_(\w+)=(\S+)", head))
        with Emulator(7, seed=3) as same:
            assert same.ids[0] in head
            assert reprocess(same.ids[6], base_url=settings["BASE_URL"], credential=settings["TOKEN"]).ok
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert "executed 1 in 1 requests" in out


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_the_emulator_says_how_to_trust_it() -> None:
    arguments = [command(), "emulator", "--tls", "--seed", "3", "--delivering", "60", "--page-size", "9"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        head = "".join(process.stdout.readline() for _ in range(5))
        url = re.search(r"BASE_URL=(https://localhost:\d+)", head)
        bundle = re.search(r"ca_bundle='([^']+)'", head)
        assert url is not None
        assert bundle is not None
        with Emulator(1, seed=3) as same:
            assert reprocess(same.ids[0], base_url=url[1], credential=same.token, ca_bundle=bundle[1]).ok
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert not Path(bundle[1]).exists()


def test_bad_arguments_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["emulator", "--write-quota", "many"], ["nothing"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 2
    assert "is no quota" in capsys.readouterr().err
    with Emulator(1) as taken:
        assert cli.main(["emulator", "--port", taken.url.rpartition(":")[2]]) == 2
    assert "cannot listen" in capsys.readouterr().err
    assert cli.main(["emulator", "--latency", "-1"]) == 2
    assert cli.main(["emulator", "--port", "99999"]) == 2
