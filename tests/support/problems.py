"""Errors as the native API shapes them."""

import httpx


def is_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem.keys() >= {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert problem["type"].startswith("urn:everlog:problem:")
    assert "Traceback" not in answer.text
    assert "psycopg" not in answer.text
