"""A credential that fails: every text that tells of it says why and what to do, and no secret."""

from __future__ import annotations

import asyncio
import csv
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import azure.identity
import azure.identity.aio
import pytest
from azure.core.exceptions import ClientAuthenticationError

from entra_reprocess import AsyncClient, Client, CredentialError, Report, RunStoppedError
from entra_reprocess.emulator import Emulator

from . import scripts

ID = "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"
CANARY = "canary~5b0c2e.9d41-77aa"
REMEDY = "client secret that is valid"


@pytest.fixture(scope="module")
def tenant() -> Iterator[Emulator]:
    with Emulator(60, tls=True) as graph:
        yield graph


def wrong_secret(graph: Emulator, kind: Any) -> Any:
    return kind.ClientSecretCredential(
        graph.tenant_id,
        graph.client_id,
        CANARY,
        authority=graph.url,
        disable_instance_discovery=True,
        connection_verify=str(graph.ca_bundle),
    )


def first(found: Any) -> Any:
    return next(iter(found))


SYNC: dict[str, Callable[[Client, list[str], Path], object]] = {
    "one": lambda client, ids, _: client.reprocess(ids[0]),
    "many": lambda client, ids, _: client.reprocess_many(ids),
    "with a journal": lambda client, ids, folder: client.reprocess_many(ids, journal=folder / "run.db"),
    "iterator": lambda client, ids, _: list(client.iter_reprocess(ids)),
    "states": lambda client, ids, _: client.states(ids),
    "list": lambda client, _ids, _folder: first(client.assignments()),
}


def told_in_full(text: str) -> None:
    assert "AADSTS7000215" in text, text
    assert REMEDY in text.splitlines()[-1], text
    assert CANARY not in text


@pytest.mark.parametrize("call", SYNC)
@pytest.mark.parametrize("api_version", ["beta", "v1.0"])
def test_the_reason_comes_last_in_the_text(tenant: Emulator, tmp_path: Path, call: str, api_version: Any) -> None:
    client = Client(
        wrong_secret(tenant, azure.identity),
        base_url=tenant.url,
        ca_bundle=tenant.ca_bundle,
        api_version=api_version,
    )
    with pytest.raises((CredentialError, RunStoppedError)) as caught:
        SYNC[call](client, tenant.ids, tmp_path)
    told_in_full(str(caught.value))
    told_in_full("".join(traceback.format_exception(caught.value)).rstrip())


@pytest.mark.parametrize("call", ["one", "many", "iterator", "states", "list"])
def test_the_asynchronous_client_tells_the_same(tenant: Emulator, call: str) -> None:
    async def main() -> None:
        credential = wrong_secret(tenant, azure.identity.aio)
        async with credential, AsyncClient(credential, base_url=tenant.url, ca_bundle=tenant.ca_bundle) as client:
            match call:
                case "one":
                    await client.reprocess(tenant.ids[0])
                case "many":
                    await client.reprocess_many(tenant.ids)
                case "iterator":
                    assert [outcome async for outcome in client.iter_reprocess(tenant.ids)]
                case "states":
                    await client.states(tenant.ids)
                case "list":
                    await anext(client.assignments())

    with pytest.raises((CredentialError, RunStoppedError)) as caught:
        asyncio.run(main())
    told_in_full(str(caught.value))


def test_log_report_and_table_tell_it_too(tenant: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(wrong_secret(tenant, azure.identity), base_url=tenant.url, ca_bundle=tenant.ca_bundle)
    with caplog.at_level(logging.WARNING, "entra_reprocess"), pytest.raises(RunStoppedError) as caught:
        client.reprocess_many(tenant.ids, journal=tmp_path / "run.db")
    lines = [record.getMessage() for record in caplog.records if record.name == "entra_reprocess"]
    report = caught.value.report
    assert report is not None
    report.to_csv(tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (line,) = lines
    told_in_full(line)
    texts = [
        report[0].message or "",
        str(report[0].error),
        rows[0]["message"],
        Report.from_journal(tmp_path / "run.db")[0].message or "",
    ]
    for text in texts:
        told_in_full(text)
        assert "\n" not in text


def test_nobody_is_signed_in_on_a_fresh_machine(tmp_path: Path) -> None:
    code = """
        from entra_reprocess import Client
        ids = ["d82eb508-acc4-43cc-bcf1-7c1c4a2c073b", "d82eb508-acc4-43cc-bcf1-7c1c4a2c073c"]
        Client().{call}
    """
    # Without "dev" the credential asks the machine's own network for a managed identity, which takes its time.
    environment = {"PATH": "/nowhere", "HOME": str(tmp_path), "AZURE_TOKEN_CREDENTIALS": "dev"}
    if sys.platform == "win32":
        environment |= {"SYSTEMROOT": os.environ["SYSTEMROOT"], "LOCALAPPDATA": str(tmp_path)}
    for call in ("reprocess(ids[0])", "reprocess_many(ids, progress=False)"):
        told = scripts.run(code.format(call=call), environment=environment).stderr
        # What the credential logs by itself comes first.
        ours = told[told.index("\nTraceback") + 1 :] if "\nTraceback" in told else told
        assert "az login" in "".join(told.splitlines()[-3:])
        assert "AzureCliCredential" not in ours
        assert len(ours.splitlines()) < 20


def test_what_a_long_text_has_hidden_can_still_be_looked_at() -> None:
    long = ClientAuthenticationError("a chain\n" + "\tof credentials\n" * 12)
    short = ClientAuthenticationError("AADSTS50126: Wrong.\r\nTrace ID: x\r\nCorrelation ID: y\r\nTimestamp: z")

    def fail(error: Exception) -> str:
        raise error

    for raised, is_printed in [(long, False), (short, True), (KeyError("access_token"), True)]:
        with pytest.raises(CredentialError) as caught:
            Client(partial(fail, raised), base_url="http://127.0.0.1:9").reprocess(ID)
        assert (caught.value.__cause__ or caught.value.__context__) is raised
        assert (caught.value.__cause__ is raised) == is_printed
        printed = "".join(traceback.format_exception(caught.value))
        assert (str(raised) in printed) == is_printed


@pytest.mark.parametrize(
    "text",
    [
        f"client_secret={CANARY} was refused",
        f"the value {CANARY} was refused",
        f"Authorization: Bearer {CANARY}",
        f"https://me:{CANARY}@login.example was not reached",
        f"line one\nAADSTS7000215: {CANARY}",
    ],
)
def test_a_secret_of_the_exception_is_told_by_nobody(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch() -> str:
        raise RuntimeError(text)

    client = Client(fetch, base_url="http://127.0.0.1:9")
    ids = [ID]
    with pytest.raises(CredentialError) as one:
        client.reprocess(ids[0])
    with caplog.at_level(logging.DEBUG), pytest.raises(RunStoppedError) as many:
        client.reprocess_many(ids, journal=tmp_path / "run.db")
    report = many.value.report
    assert report is not None
    texts = [str(one.value), str(many.value), caplog.text, str(report[0]), str(report[0].error)]
    texts += [file.read_bytes().decode("latin-1") for file in tmp_path.glob("run.db*")]
    assert "[hidden]" in str(one.value)
    assert not any(CANARY[:8] in each or CANARY[-8:] in each for each in texts)


def test_the_token_that_it_gave_before_is_not_told_either() -> None:
    # Letters alone, which look like a word.
    given = "abcdefghijklmnopqrstuvwxyz"
    tokens = iter([given])

    def fetch() -> str:
        for token in tokens:
            return token
        raise RuntimeError(f"there is none after {given}")

    with Emulator(1) as graph, pytest.raises(CredentialError, match=r"none after \[token\]") as caught:
        Client(fetch, base_url=graph.url).reprocess(graph.ids[0])
    assert given not in str(caught.value)
