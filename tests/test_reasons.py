"""What is repeated of a credential's exception: the line that says why, no secret, and the remedy."""

from __future__ import annotations

import subprocess

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.identity import CredentialUnavailableError

from entra_reprocess._reason import reason_of, redacted

CANARY = "hunter2canary"
JWT = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJncmFwaCJ9.c2lnbmF0dXJl"
# As Entra makes them: forty letters with signs among them.
SECRET = "wIn8Q~dEfGhIjK.MnOpQrSt_vWxYz012345678-9"
GUID = "1aa00a5c-1f0b-44ef-b5c7-8e6d8c9a0b01"


@pytest.mark.parametrize(
    "text",
    [
        f"the token {JWT} was refused",
        f"token={JWT}",
        f"Authorization: Bearer {CANARY[:7]}.{CANARY}",
        f"the value {SECRET} was refused",
        f"bad value: {SECRET}",
        f"client_secret={CANARY}&grant_type=x",
        f"client_assertion={JWT}&grant_type=x",
        f"{{'password': '{CANARY} with a space'}}",
        f'{{"access_token": "{CANARY}", "expires_in": 5}}',
        f"password: {CANARY}",
        f"AZURE_CLIENT_SECRET='{CANARY}'",
        f"https://me:{CANARY}@login.example/x",
        f"http://DOMAIN\\me:{CANARY}@proxy.example:8080",
        f"https://me:{CANARY}/{CANARY}@login.example/x",
        f"for url: https://login.example/token?code={CANARY}",
        f"for url: https://login.example/#access={CANARY}",
        str(subprocess.CalledProcessError(1, ["az", "login", "-u", "me", "-p", CANARY])),
        str(subprocess.CalledProcessError(1, ["az", "login", "--client-secret", CANARY])),
        f"Command 'az login --password {CANARY}' failed",
        "key 3q2+7w/abcDEF123/xyz+ABCDEFGHIJKLMNOP==",
        "key 8f14e45fceea167a5a36dedd4bea2543",
    ],
)
def test_what_may_be_a_secret_is_hidden(text: str) -> None:
    shown = redacted(text)
    assert "[hidden]" in shown
    for secret in (CANARY, SECRET, JWT, "8f14e45f", "3q2+7w"):
        assert not any(secret[start : start + 6] in shown for start in range(len(secret) - 5)), shown


@pytest.mark.parametrize(
    "text",
    [
        "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client"
        f" secret value, not the client secret ID, for a secret added to app '{GUID}'."
        f" Trace ID: {GUID} Timestamp: 2026-11-25",
        f"AADSTS700016: Application with identifier '{GUID}' was not found in the directory 'Contoso'.",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)",
        "Failed to get a token: connection refused by login.microsoftonline.com:443",
        f"Unable to get authority configuration for https://login.microsoftonline.com/{GUID}.",
        "[Errno 2] No such file or directory: '/home/user1/.azure/msal_token_cache.v2.json'",
        "<urllib3.connection.HTTPSConnection object at 0x7f8a1c2b3d50>: Failed to resolve 'myvm01.internal.example'",
        "Please run 'az login' to set up an account",
        "the permission EntitlementManagement.ReadWrite.All is missing",
    ],
)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert redacted(text) == text


def refused(text: str) -> Exception:
    return ClientAuthenticationError(text)


def unavailable(text: str) -> Exception:
    return CredentialUnavailableError(text)


CHAIN = (
    "DefaultAzureCredential failed to retrieve a token from the included credentials.\nAttempted credentials:\n"
    "\tEnvironmentCredential: {}\n\tAzureCliCredential: Azure CLI not found on path\n\nTo mitigate this issue, see x."
)


@pytest.mark.parametrize(
    ("error", "line", "remedy"),
    [
        (
            refused("Authentication failed: AADSTS7000215: Invalid.\r\nTrace ID: x"),
            "failed: AADSTS7000215: Invalid.",
            "client secret that is valid",
        ),
        (refused("AADSTS7000222: The keys are expired."), "AADSTS7000222: The keys", "client secret that is valid"),
        (refused("AADSTS65001: No consent."), "AADSTS65001", "grant the permission"),
        (refused("AADSTS700016: No application."), "AADSTS700016", "check the client id and the tenant"),
        (refused("AADSTS50076: MFA."), "AADSTS50076", "needs a person"),
        (refused("AADSTS53003: Blocked."), "AADSTS53003", "Conditional Access policy"),
        (refused("AADSTS90002: No tenant."), "AADSTS90002", "Check the tenant id"),
        (refused("AADSTS1234567: New."), "AADSTS1234567", "https://login.microsoftonline.com/error?code=1234567"),
        (refused("First line\nContent: AADSTS50173: Ended"), "Content: AADSTS50173: Ended", "`az login`"),
        (refused(f"{'x ' * 300}AADSTS50126: Wrong"), "…; AADSTS50126", "the password"),
        (refused(CHAIN.format("no variables")), "failed to retrieve a token from the included", "`az login`"),
        (
            refused(CHAIN.format("AADSTS7000215: Bad.")),
            "EnvironmentCredential: AADSTS7000215: Bad.",
            "client secret that is valid",
        ),
        (
            unavailable("Please run 'az login' to set up an account"),
            "Please run 'az login'",
            "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET,",
        ),
        (ServiceRequestError("Cannot resolve login.example"), "Cannot resolve", "cannot be reached"),
        (KeyError("access_token"), "(KeyError): 'access_token'", "by itself"),
        (
            RuntimeError("sign in at the desk first\nof the second floor"),
            "(RuntimeError): sign in at the desk first\n",
            "by itself",
        ),
        (RuntimeError(), "no token (RuntimeError)\n", "by itself"),
        (RuntimeError("\n \n"), "no token (RuntimeError)\n", "by itself"),
    ],
)
def test_the_line_that_says_why_and_the_remedy(error: Exception, line: str, remedy: str) -> None:
    text = reason_of(error)
    assert line in text
    assert remedy in text.splitlines()[-1]
    assert len(text.splitlines()) == 2
    assert "see the cause" not in text


def test_a_long_line_is_cut_and_what_stood_at_the_cut_is_not_shown() -> None:
    text = reason_of(RuntimeError(f"{'x ' * 195}client_secret={SECRET} and {'y ' * 3_000_000}"))
    assert len(text) < 700
    assert SECRET[:4] not in text


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError(CANARY)


def test_an_exception_that_cannot_be_shown_has_its_name() -> None:
    assert reason_of(MuteError()).startswith("the credential gave no token (MuteError)\n")
