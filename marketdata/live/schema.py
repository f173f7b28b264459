"""JSON Schema of every message of the live protocol, made of the types that read and write them. Pure; written to
`docs/live-protocol.schema.json` by `python -m marketdata.live.schema`, and held to that file by a test."""

import json
from typing import Any, get_args

import msgspec
from msgspec import UNSET, UnsetType

from marketdata.live import protocol
from marketdata.live.protocol import BarMessage, Position, QuoteMessage


class Update(msgspec.Struct, tag_field="type", tag="update"):
    """What changed. Joined of parts that are JSON already (`protocol.values`), so only its schema is made of this."""

    quotes: list[QuoteMessage]
    bars: list[BarMessage]
    log: Position | UnsetType = UNSET


class Snapshot(msgspec.Struct, tag_field="type", tag="snapshot"):
    """Everything that is watched, or was granted just now. Joined as an update is."""

    quotes: list[QuoteMessage]
    bars: list[BarMessage]
    recovered: bool | UnsetType = UNSET
    log: Position | UnsetType = UNSET


FROM_CLIENTS: tuple[type[msgspec.Struct], ...] = get_args(protocol.Operation)
FROM_SERVERS: tuple[type[msgspec.Struct], ...] = (*get_args(protocol.Message), Snapshot, Update)
REF = "#/$defs/{name}"


def schema() -> dict[str, Any]:
    """Unknown fields are allowed: either side may be newer than the other."""
    _, defs = msgspec.json.schema_components((*FROM_CLIENTS, *FROM_SERVERS), ref_template=REF)
    for definition in defs.values():
        definition["description"] = " ".join(definition.get("description", "").split())
    for name, types in (("FromClient", FROM_CLIENTS), ("FromServer", FROM_SERVERS)):
        defs[name] = {"oneOf": [{"$ref": REF.format(name=one.__name__)} for one in types]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Live protocol, version {protocol.PROTOCOL}",
        "description": "Messages of docs/live-protocol.md: each is one websocket text.",
        "anyOf": [{"$ref": REF.format(name=name)} for name in ("FromClient", "FromServer")],
        "$defs": {name: defs[name] for name in sorted(defs)},
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
