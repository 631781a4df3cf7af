"""The OpenAPI extracts, and what they are tried on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent.parent / "data"
VERSIONS = ("v1.0", "beta")
SEEDED: dict[str, Any] = {
    "assignments": 60,
    "states": {"Delivering": 5, "PartiallyDelivered": 5, "Expired": 5, "DeliveryFailed": 5},
    "seed": 7,
    "page_size": 25,
}


def load(version: str) -> dict[str, Any]:
    """The extract of one version."""
    read: dict[str, Any] = yaml.safe_load((DATA / f"openapi-{version}.yaml").read_text(encoding="utf-8"))
    return read


def at(version: str, url: str) -> dict[str, Any]:
    """The extract with this origin in place of Graph's hosts.

    Without its security requirements: openapi-core knows no OAuth 2, and the token is tested elsewhere.
    """
    spec = load(version)
    spec["servers"] = [{"url": f"{url}/{version}"}]
    del spec["security"]
    for path in spec["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    _spell_out_null(spec)
    return spec


def _spell_out_null(node: Any) -> None:
    """Put null into words that a strict reader takes: OpenAPI 3.0.3 lets `nullable` count only beside a `type`.

    Microsoft's own description writes `anyOf` with a nullable object for the same.
    """
    if isinstance(node, list):
        for item in node:
            _spell_out_null(item)
    elif isinstance(node, dict):
        if node.get("nullable") is True and "allOf" in node:
            node["anyOf"] = [*node.pop("allOf"), {"type": "object", "nullable": True, "maxProperties": 0}]
            del node["nullable"]
        for item in node.values():
            _spell_out_null(item)
