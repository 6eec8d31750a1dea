"""The OpenAPI document as a page: plain HTML made here, so that it works without any other host."""

import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.serialization import encode_json

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
summary{cursor:pointer;padding:.4rem 0}code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:#f4f5f7;padding:.8rem;border-radius:6px;overflow:auto}b.verb{display:inline-block;width:5rem}
td,th{text-align:left;padding:.15rem 1rem .15rem 0;vertical-align:top}details{border-bottom:1px solid #e3e5e8}
@media(prefers-color-scheme:dark){body{background:#16191d;color:#e6e8eb}pre{background:#22262b}}
"""


STYLE_HASH = f"sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}"
"""By which a Content-Security-Policy lets it in."""
HERE = "EVERLOG-ADDRESS"
"""Stands on the page where the address does by which a client reaches us."""


class Documents(msgspec.Struct, frozen=True):
    """What never changes while a process runs. It takes a third of a second, and anybody may ask for it."""

    schema: bytes
    page: str


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(_documents(request.app).schema, media_type=MediaType.JSON)


@get("/docs", include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
def docs(request: Request[Any, Any, Any]) -> Response[str]:
    """Every operation with its parameters, its example, and the curl command for it."""
    here = escape(str(request.base_url).rstrip("/"))
    return Response(_documents(request.app).page.replace(HERE, here), media_type=MediaType.HTML)


ROUTES = [openapi, docs]


def _documents(app: Litestar) -> Documents:
    made: Documents | None = app.state.get("documents")
    if made is None:
        schema = app.openapi_schema.to_schema()
        made = Documents(encode_json(schema), _page(schema))
        app.state["documents"] = made
    return made


def _page(schema: dict[str, Any]) -> str:
    operations = "".join(
        _operation(HERE, path, verb, operation)
        for path, verbs in schema["paths"].items()
        for verb, operation in verbs.items()
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Everlog API</title><style>{STYLE}</style>"
        f"<h1>Everlog API</h1><p>{escape(schema['info'].get('description', ''))}</p>"
        f'<p>The document: <a href="/openapi.json">/openapi.json</a></p>{operations}</html>'
    )


def _operation(base: str, path: str, verb: str, operation: dict[str, Any]) -> str:
    example = _example(operation)
    parts = [
        f"<details><summary><b class=verb>{verb.upper()}</b> <code>{escape(path)}</code>"
        f" {escape(operation.get('summary') or '')}</summary>",
        _parameters(operation.get("parameters", [])),
        f"<pre>{escape(_curl(base + path, verb, example))}</pre></details>",
    ]
    return "".join(parts)


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{escape(p.get('description') or '')}"
        for p in parameters
    )
    return f"<table>{rows}</table>" if rows else ""


def _example(operation: dict[str, Any]) -> Any:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content.get("schema", {})
        examples = content.get("examples") or schema.get("examples") or {}
        for example in examples.values() if isinstance(examples, dict) else examples:
            return example.get("value", example)
    return None


def _curl(url: str, verb: str, example: Any) -> str:
    lines = [f"curl -X {verb.upper()} '{url}'", "-H 'Authorization: Bearer YOUR_API_KEY'"]
    if example is not None:
        lines += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example)}'"]
    return " \\\n  ".join(lines)
