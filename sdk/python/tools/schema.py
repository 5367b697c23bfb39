"""Makes the JSON Schema that the SDK's models are generated from.

Reads the OpenAPI v2 models of the arl.io types on standard input, as
hack/openapi-schema prints them, and writes a JSON Schema document to standard
output. Only hack/update-sdk-models.sh runs this.
"""

from __future__ import annotations

import json
import sys
from typing import Any

OURS = "io.arl.v1alpha1."
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
KINDS = ("WarmPool", "Sandbox", "Task")

# Types that are a text in JSON, and what JSON Schema calls them.
TEXTS: dict[str, dict[str, Any]] = {
    META + "Time": {"type": "string", "format": "date-time"},
    META + "MicroTime": {"type": "string", "format": "date-time"},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"anyOf": [{"type": "string"}, {"type": "number"}]},
}

# A pod template is handed through as it is. As models it would be two hundred
# classes, which cost every import of the package half a second.
OPEN = {"io.k8s.api.core.v1.PodTemplateSpec"}

# Texts of which an unset value and an empty one are the same: nobody wants to
# tell None from "" when looking at what a command wrote.
EMPTY_TEXT = {("TaskStatus", "stdout"), ("TaskStatus", "stderr")}

# Of the standard metadata, what a user of the SDK may look for. Everything else
# is kept as it comes.
METADATA = (
    "annotations",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "labels",
    "name",
    "namespace",
    "resourceVersion",
    "uid",
)


# Not for this API: the server refuses it.
LEFT_OUT = {("io.k8s.api.core.v1.ResourceRequirements", "claims")}


def short(name: str) -> str:
    """Is the class's name for a model's."""
    return name.rsplit(".", 1)[-1]


def convert(schema: dict[str, Any], found: list[str]) -> dict[str, Any]:
    """Makes an OpenAPI v2 schema one of JSON Schema, and notes what it refers to."""
    out: dict[str, Any] = {}
    for key, value in schema.items():
        # A newer server may know more values than this SDK, and is to be read all the same.
        if key.startswith("x-kubernetes") or key == "enum" or (key == "default" and value == {}):
            continue
        if key == "$ref":
            name = value.removeprefix("#/definitions/")
            if name in TEXTS:
                out.update(TEXTS[name])
            elif name in OPEN:
                out.update(type="object", additionalProperties=True)
            else:
                found.append(name)
                out["$ref"] = "#/$defs/" + short(name)
        elif key == "properties":
            out[key] = {k: convert(v, found) for k, v in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            out[key] = convert(value, found)
        elif key == "description":
            out[key] = value.split("\n\nPossible enum values:")[0]
        elif key == "format" and value in ("int32", "int64"):
            continue
        else:
            out[key] = value
    return out


def trim(name: str, schema: dict[str, Any]) -> None:
    """Leaves out and adds what the lists above say."""
    properties = schema.get("properties", {})
    if name == META + "ObjectMeta":
        for field in set(properties) - set(METADATA):
            del properties[field]
    for model, field in LEFT_OUT:
        if name == model:
            del properties[field]
    if not name.startswith(OURS):
        # Kubernetes' own types are described in its own documentation.
        schema["description"] = f"{short(name)} is Kubernetes' type of that name."
        for field in properties.values():
            field.pop("description", None)
    for field in ("apiVersion", "kind"):
        if field in properties:
            properties[field].pop("description", None)
    if short(name) in KINDS:
        schema["required"] = ["metadata", "spec", "status"]
    for kind, field in EMPTY_TEXT:
        if name == OURS + kind:
            properties[field]["default"] = ""


def main() -> None:
    models = json.load(sys.stdin)["definitions"]
    todo = [OURS + kind for kind in KINDS]
    definitions: dict[str, Any] = {}
    while todo:
        name = todo.pop(0)
        if short(name) in definitions:
            continue
        schema = json.loads(json.dumps(models[name]))
        trim(name, schema)
        found: list[str] = []
        definitions[short(name)] = convert(schema, found)
        todo.extend(found)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Arl",
        "$defs": dict(sorted(definitions.items())),
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
