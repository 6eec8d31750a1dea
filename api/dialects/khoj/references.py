"""What an answer was made of, as streams and messages of Khoj tell it."""

from typing import Any

from domain.conversation import CodeRun, References
from domain.ids import MEMORY_PREFIX, spell


def references_of(references: References) -> dict[str, Any]:
    """Each key is always there.

    {inferredQueries: [query], context: [{query, compiled, file, uri}], onlineContext: {query: {organic,
    webpages}}, codeContext: {code: {code, results}}, memories: [{id, text}]}
    """
    return {
        "inferredQueries": list(dict.fromkeys(note.query for note in references.notes)),
        "context": [
            {"query": note.query, "compiled": note.text, "file": note.file, "uri": f"file://{note.file}"}
            for note in references.notes
        ],
        "onlineContext": _online(references),
        "codeContext": {run.code: {"code": run.code, "results": _results(run)} for run in references.runs},
        "memories": [{"id": spell(MEMORY_PREFIX, one.id), "text": one.text} for one in references.memories],
    }


def _online(references: References) -> dict[str, Any]:
    found: dict[str, dict[str, list[dict[str, str]]]] = {}
    for search in references.searches:
        links = [{"title": one.title, "link": one.url, "snippet": one.snippet} for one in search.links]
        found.setdefault(search.query, {"organic": [], "webpages": []})["organic"] += links
    for page in references.pages:
        # One that no query led to is its own.
        place = found.setdefault(page.query or page.url, {"organic": [], "webpages": []})
        place["webpages"].append({"link": page.url, "snippet": page.text, "query": page.query})
    return found


def _results(run: CodeRun) -> dict[str, Any]:
    return {
        "success": run.success,
        "output_files": [{"filename": file.name, "b64_data": file.base64} for file in run.files],
        "std_out": run.output,
        "std_err": run.errors,
        "code_runtime": run.seconds,
    }
