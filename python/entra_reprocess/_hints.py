"""Stand-ins for names that annotations mention, so that `typing.get_type_hints` can follow them.

It evaluates the text of an annotation among the globals of its function, so each name has to be there. Importing all
of them would cost a script what it may never use (dataclasses, uuid, azure-core). A ForwardRef is followed to the real
thing only when somebody asks. Checkers do not see these: they read the imports under TYPE_CHECKING.
"""

from __future__ import annotations

from typing import ForwardRef


def _later(module: str, name: str) -> ForwardRef:
    # Complete by itself, since it is evaluated among the globals of whoever mentions it.
    return ForwardRef(f"__import__({module!r}, fromlist=[{name!r}]).{name}")


UUID = _later("uuid", "UUID")
TokenCredential = _later("azure.core.credentials", "TokenCredential")
AsyncTokenCredential = _later("azure.core.credentials_async", "AsyncTokenCredential")
AccessToken = _later("azure.core.credentials", "AccessToken")
AccessPackage = _later("entra_reprocess", "AccessPackage")
Assignment = _later("entra_reprocess", "Assignment")
Outcome = _later("entra_reprocess", "Outcome")
Report = _later("entra_reprocess", "Report")
State = _later("entra_reprocess._listed", "State")
Status = _later("entra_reprocess", "Status")
