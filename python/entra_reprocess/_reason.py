"""Why a credential gave no token: what it raised, in one line and without secrets, and what to do about it."""

from __future__ import annotations

import re

from ._errors import ReprocessError

_LONGEST_LINE = 400
"""Characters of the line that is repeated. Entra's longest ones end in a trace id and a time, which still fit."""
_LONGEST_TEXT = 20_000
"""Characters that are looked at."""
_MANY_LINES = 5
"""A text of more lines than this is a list of what each of several credentials said."""

# Entra's codes. They choose nothing but the words of a remedy, since they may change, as the page says
# (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
_CODE = re.compile(r"AADSTS\d+")
_CONSENT = (
    "Nobody has consented to what is asked for: let an administrator grant the"
    " permission EntitlementManagement.ReadWrite.All (Entra admin center, App registrations, API permissions,"
    " Grant admin consent)."
)
_APPLICATION = (
    "This tenant does not have that application: check the client id and the tenant id of the credential, and cloud=."
)
_KEY = (
    "Give the credential a client secret that is valid: make a new one (Entra admin center, App registrations,"
    " Certificates & secrets) and use its value, not its id."
)
_CERTIFICATE = (
    "Entra does not take the certificate or assertion: register it with the application (Entra admin center, App"
    " registrations, Certificates & secrets), and check that it has not expired and that the clock of this machine is"
    " right."
)
_PERSON = (
    "The sign-in needs a person: sign in again with a browser (`az login --scope https://graph.microsoft.com/.default`,"
    " or pass InteractiveBrowserCredential()), or run unattended as a service principal."
)
_AGAIN = "The sign-in has ended: sign in again (`az login`), or pass another credential with credential=."
_ACCOUNT = (
    "Check the user name, the password and the state of the account, or pass another credential with credential=."
)
_POLICY = (
    "A Conditional Access policy or the assignment of users to the application blocks the sign-in: ask an administrator"
    " (Entra admin center, Sign-in logs), or pass another credential with credential=."
)
_TENANT = "Check the tenant id of the credential, and cloud=."
_RESOURCE = "The tenant does not know Microsoft Graph by that name: check cloud= and the authority of the credential."
_LATER = "The sign-in service is in trouble: try again later."

_REMEDIES = {
    f"AADSTS{code}": remedy
    for remedy, codes in {
        _CONSENT: (65001, 65004, 90094, 650052, 650056, 650057),
        _APPLICATION: (700016, 7000112, 7000218, 700038),
        _KEY: (7000215, 7000222, 7000216),
        _CERTIFICATE: (700027, 700024, 700023, 700030, 70021, 700211, 700212, 700213, 50013, 50012),
        _PERSON: (50072, 50074, 50076, 50078, 50079, 50158, 50058, 16000, 70044, 50125),
        _AGAIN: (50173, 700082, 700081, 70043, 70008, 50132, 50133, 50089, 54005),
        _ACCOUNT: (50126, 50034, 50053, 50055, 50056, 50057, 50059, 50144),
        _POLICY: (53000, 53001, 53002, 53003, 53004, 53009, 50005, 50105, 530003, 50097),
        _TENANT: (90002, 900023, 50020, 90072, 50128, 90013, 900021),
        _RESOURCE: (500011, 50001, 70011, 70001),
        _LATER: (90033, 90024, 50196, 90006, 90020, 50000, 90010),
    }.items()
    for code in codes
}
_UNKNOWN_CODE = "Microsoft explains the code at https://login.microsoftonline.com/error?code={code}."
_NOBODY = (
    "Sign in with `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or pass another"
    " credential with credential=."
)
_NO_WAY = "The sign-in service cannot be reached: check network, proxy and trusted certificates of the credential."
_OTHER = "Try the credential by itself, or pass another one with credential=."

# Names of azure-core's exceptions (https://learn.microsoft.com/python/api/azure-core/azure.core.exceptions), which need
# not be imported for it.
_BY_NAME = {
    "ClientAuthenticationError": _NOBODY,
    "CredentialUnavailableError": _NOBODY,
    "ServiceRequestError": _NO_WAY,
    "ServiceResponseError": _NO_WAY,
}


def reason_of(error: BaseException) -> str:
    """The kind of an exception of a credential, the line of its text that says why, and a line with the remedy."""
    text = _text_of(error)
    if isinstance(error, ReprocessError):
        # Of a client that came out of a pickle: it says all that there is to say.
        return text
    codes = list(dict.fromkeys(_CODE.findall(text)))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Of several credentials the first line names the chain, another one the code.
    telling = [line for line in lines if not codes or codes[0] in line][:1]
    line = _shortened(redacted(" ".join(telling)))
    missing = [code for code in codes if code not in line][:5]
    told = "; ".join(filter(None, [line, ", ".join(missing)]))
    head = f"the credential gave no token ({type(error).__name__}){': ' if told else ''}{told}"
    return f"{_printable(head)}\n{_remedy(error, codes)}"


def attach(error: BaseException, cause: BaseException) -> None:
    """Make `cause` the cause of `error`, or what Python does not print where it would fill the screen.

    What is to be done stands in `error`; under the dozens of lines of a chain of credentials nobody finds it.
    """
    if len(_text_of(cause).splitlines()) > _MANY_LINES:
        error.__context__ = cause
        error.__suppress_context__ = True
    else:
        error.__cause__ = cause


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST_TEXT]
    except Exception:
        # Of a class of others, which may not be able to say anything.
        return ""


def _printable(text: str) -> str:
    # What would steer a terminal, or has no UTF-8 form, is shown as an escape.
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"


def _remedy(error: BaseException, codes: list[str]) -> str:
    for code in codes:
        if code in _REMEDIES:
            return _REMEDIES[code]
    if codes:
        # The page is Microsoft's, which has more of them than its reference.
        return _UNKNOWN_CODE.format(code=codes[0].removeprefix("AADSTS"))
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((_BY_NAME[name] for name in names if name in _BY_NAME), _OTHER)


_HIDDEN = "[hidden]"
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME = (
    r"[\w-]*(?:secret|passw(?:or)?d|passphrase|pwd|token|assertion|api[_-]?key|access[_-]?key|signature|cookie)[\w-]*"
)
_VALUE = r"(?:\"[^\"]*\"?|'[^']*'?|[^\s,;&\"']+)"
_PAIRS = [
    re.compile(pattern)
    for pattern in (
        # `client_secret=...`, `"access_token": "..."`, and the names that no sentence has before a colon.
        rf"(?i)({_NAME}[\"']?\s*=\s*){_VALUE}",
        rf"(?i)([\"']{_NAME}[\"']\s*:\s*){_VALUE}",
        rf"(?i)(\b(?:passw(?:or)?d|passphrase|\w+_(?:secret|token|assertion)|api[_-]?key)\s*:\s*){_VALUE}",
        # `--password ...` and `'--password', '...'`, as a command that failed is shown.
        rf"(?i)((?<![\w-])--{_NAME}[\"']?,?\s+){_VALUE}",
        rf"((?<![\w-])-p[\"']?,?\s+){_VALUE}",
        r"(?i)(\b(?:bearer|basic|negotiate|ntlm)\s+)(?=[\w.~+/=-]*[\d.~+/=])[\w.~+/=-]{6,}",
        # The query of a URL.
        r"(\w://[^\s?#\"'<>]*[?#])[^\s\"'<>)]+",
    )
]
_USER = re.compile(r"(?<=\w://)[^\s/@]*(?:/[^\s/@]*)?@")
_RUN = re.compile(r"\w+://[^\s/]+|[\w.~+/=-]{16,}")
_LONG = 16
"""Letters in a row from which on they may be a secret."""


def redacted(text: str) -> str:
    """The text without what may be a secret. Better too much is hidden than too little: the exception has it whole."""
    text = _USER.sub(f"{_HIDDEN}@", text)
    for pattern in _PAIRS:
        text = pattern.sub(rf"\1{_HIDDEN}", text)
    return _RUN.sub(lambda found: _HIDDEN if _is_opaque(found[0]) else found[0], text)


def _is_opaque(run: str) -> bool:
    """Whether it looks like a token or a key; words, GUIDs, paths, names with dots and the hosts of URLs do not."""
    if "://" in run:
        return False
    rest = _GUID.sub("", run)
    pieces = [rest] if re.search(r"[~+=]", rest) else re.split(r"[./]", rest)
    if not rest.startswith("/") and "." not in rest:
        # Base64 may have a slash anywhere.
        pieces.append(rest)
    return any(
        len(piece) >= _LONG and re.search(r"\d", piece) is not None and re.search(r"[A-Za-z]", piece) is not None
        for piece in pieces
    )
