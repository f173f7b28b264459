"""Every message that a test gets from a server is held to the published schema, and to no more than it says."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FILE = Path(__file__).resolve().parents[2] / "docs" / "live-protocol.schema.json"


def _strict() -> dict[str, Draft202012Validator]:
    """By type; a field that the schema does not know fails here, although clients must not mind it."""
    published: dict[str, Any] = json.loads(FILE.read_text())
    for definition in published["$defs"].values():
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    names = [one["$ref"].rsplit("/", 1)[1] for one in published["$defs"]["FromServer"]["oneOf"]]
    return {
        name.lower(): Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": published["$defs"]}) for name in names
    }


_validators = _strict()


def checked(message: dict[str, Any]) -> dict[str, Any]:
    """The message; jsonschema's ValidationError if the schema does not allow it."""
    _validators[message["type"]].validate(message)
    return message
