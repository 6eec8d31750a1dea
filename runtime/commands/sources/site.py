"""Asking another service over HTTP: patiently, and the key goes to the named host alone."""

import http.client
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec

from runtime.commands.sources.spellings import listed
from runtime.settings import SettingsError

TIMEOUT_SECONDS = 60.0
TRIES = 6
"""With doubled pauses from half a second on: some fifteen seconds."""
PAUSE_SECONDS = 0.5
MAX_WAIT_SECONDS = 120.0
"""A service that wants to be left alone for longer is asked again by the operator, by another run."""
WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
SHOWN = 200
"""Characters of an error's body."""


class Site:
    """A service at `url` that knows us by `authorization`, such as `Bearer …`."""

    def __init__(self, url: str, authorization: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"--url: an address such as https://api.example.com is wanted, not {url!r}")
        if not (authorization.isascii() and authorization.isprintable()):
            raise SettingsError("--key: a key has printable ASCII characters only")
        self._url = url.rstrip("/")
        self._headers = {
            "Authorization": authorization,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "everlog-import",
        }
        self._opener = build_opener(_Stay())

    def ask(self, path: str, query: dict[str, Any] | None = None, body: Any = None) -> Any:
        """The JSON that a GET answers with, or with `body` a POST. Raises SettingsError."""
        url = self._url + path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else msgspec.json.encode(body)
        request = Request(url, data=data, headers=self._headers)  # noqa: S310 - http(s), as checked above
        for attempt in range(TRIES):
            try:
                with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                    return _json(url, answer.read())
            except HTTPError as error:
                problem, pause = _refused(url, error), _wanted_pause(error)
            except (OSError, http.client.HTTPException) as error:
                problem, pause = f"{url} cannot be reached: {error}", None
            if attempt + 1 < TRIES:
                time.sleep(PAUSE_SECONDS * 2**attempt if pause is None else pause)
        raise SettingsError(f"{problem}; given up after {TRIES} tries")

    def rows(self, answer: Any) -> list[Any]:
        """The list in an answer. Raises SettingsError where there is none."""
        rows = listed(answer)
        if rows is None:
            raise SettingsError(f"{self._url} answers without a list of memories: is --from right?")
        return rows


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: it could lead the key to another host."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _json(url: str, content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError):
        raise SettingsError(f"{url} answers something that is not JSON: is --url right?") from None


def _refused(url: str, error: HTTPError) -> str:
    """What is wrong, where another try may help. Raises SettingsError where none does."""
    said = ""
    with error, suppress(OSError, http.client.HTTPException):
        said = error.read(SHOWN).decode(errors="replace").strip()
    if 300 <= error.code < 400:
        raise SettingsError(
            f"{url} redirects to {error.headers.get('Location')}; the key is not sent on: give that as --url"
        )
    if error.code in (401, 403):
        raise SettingsError(f"{url} refuses the key ({error.code}): {said}")
    problem = f"{url} answers {error.code}: {said}"
    if error.code not in WORTH_ANOTHER_TRY:
        raise SettingsError(problem)
    return problem


def _wanted_pause(error: HTTPError) -> float | None:
    """Seconds that Retry-After asks for, either way it is written; None where it says nothing.

    Raises SettingsError when that is longer than we wait.
    """
    text = (error.headers.get("Retry-After") or "").strip()
    try:
        seconds = float(text) if text.isdigit() else _seconds_until(text)
    except ValueError:
        return None
    if seconds > MAX_WAIT_SECONDS:
        raise SettingsError(f"{error.url} answers {error.code} and asks to come back in {seconds:.0f} s")
    return max(0.0, seconds)


def _seconds_until(text: str) -> float:
    when = parsedate_to_datetime(text)
    return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
