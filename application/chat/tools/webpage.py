"""`/webpage`: pages of the web whose addresses the user wrote, or a search found."""

import asyncio
import re
from collections.abc import Mapping
from itertools import islice
from typing import Annotated

import httpx2
import msgspec

from application.chat.tools.telling import MAX_CHARACTERS, MAX_LINE, Item, as_json, cut, few, listed
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from domain.conversation import References, WebPage
from providers.web.page import PageRefused, PageUnavailable

ADDRESS = re.compile(
    r"(?<![a-z0-9])(?:https?://|www\.)(?=[\w\[])[^\s<>\"`\\{}|^，。、；：！？（）《》「」『』【】]+",
    re.IGNORECASE,
)
AROUND = ".,;:!?'*]"
"""What follows an address in a sentence, rather than ends it."""
MAX_ADDRESS = 2_000
MAX_ADDRESSES = 200
"""In one text; the others are left out."""

UNKNOWN = (
    "Only pages are read whose address the user wrote or a web search of this turn found. "
    "Ask the user for the address, or search the web first."
)


class Addresses(msgspec.Struct, frozen=True):
    urls: Annotated[
        list[str],
        msgspec.Meta(
            description="One to three addresses, as the user wrote them or a web search found them."
        ),
    ]


class Webpage(Tool):
    command = "webpage"
    order = 30
    help = "Read the web pages whose addresses you give."
    option = "Read a web page."
    description = (
        "Reads pages of the web. Use it when the user gives an address, or for more of a page that a web "
        "search found; no other addresses are read."
    )
    arguments: type[msgspec.Struct] = Addresses

    def guess(self, question: str) -> Addresses | None:
        addresses = few(addresses_in(question))
        return Addresses(addresses) if addresses else None

    async def run(self, desk: Desk, arguments: Addresses) -> Outcome:
        known = {_spelled(url): url for url in sorted(desk.addresses)}
        asked = few(arguments.urls)
        # Read is the address that is known, not the model's spelling of it, which could tell something.
        urls = [known[_spelled(url)] for url in asked if _spelled(url) in known]
        if not urls:
            raise ToolFailed(UNKNOWN)
        pages = await read(desk, dict.fromkeys(urls, cut(desk.question, MAX_LINE)))
        if not pages.read:
            raise ToolFailed(f"No page could be read: {'; '.join(dict.fromkeys(pages.failed.values()))}.")
        desk.say(f"**Read web pages**: {listed(page.url for page in pages.read)}")
        refused: list[Item] = [{"url": url, "error": UNKNOWN} for url in asked if _spelled(url) not in known]
        return Outcome(told=as_json(pages.items() + refused), references=References(pages=tuple(pages.read)))


class Pages(msgspec.Struct, frozen=True):
    """What became of some addresses."""

    read: list[WebPage] = []
    failed: dict[str, str] = {}
    """Why the others were not, by their addresses."""

    def items(self) -> list[Item]:
        """For the model."""
        texts: list[Item] = [{"url": page.url, "text": page.text} for page in self.read]
        return texts + [{"url": url, "error": why} for url, why in self.failed.items()]


def addresses_in(text: str) -> list[str]:
    """The addresses of pages in a text, each once, in their order."""
    found = (_trimmed(match.group()) for match in islice(ADDRESS.finditer(text), MAX_ADDRESSES))
    return list(dict.fromkeys(url for url in found if _is_address(url)))


async def read(desk: Desk, wanted: Mapping[str, str]) -> Pages:
    """The pages at some addresses, each of which comes with what it is read for."""
    desk.say(f"**Browsing**: {listed(wanted)}")
    answers = await asyncio.gather(*(_read(desk, url, query) for url, query in wanted.items()))
    failed = {url: answer for url, answer in zip(wanted, answers, strict=True) if isinstance(answer, str)}
    if failed:
        desk.say(f"**Skipped web pages**: {listed(f'{url}: {why}' for url, why in failed.items())}")
    return Pages([answer for answer in answers if isinstance(answer, WebPage)], failed)


async def _read(desk: Desk, url: str, query: str) -> WebPage | str:
    """The page, or why there is none."""
    try:
        page = await desk.chat.means.browser.read(url)
    except (PageRefused, PageUnavailable) as error:
        return str(error)
    return WebPage(url=url, text=cut(page.text, MAX_CHARACTERS), query=query)


def _trimmed(found: str) -> str:
    """Without what belongs to the sentence around it, such as a bracket that was opened before it."""
    depth = 0
    for place, character in enumerate(found):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            found = found[:place]
            break
    found = found.rstrip(AROUND)
    return f"https://{found}" if found[:4].lower() == "www." else found


def _is_address(url: str) -> bool:
    try:
        host = httpx2.URL(url).raw_host if len(url) <= MAX_ADDRESS else b""
    except (httpx2.InvalidURL, ValueError):  # the latter of what is no UTF-8
        return False
    return host != b"" and b"%" not in host


def _spelled(url: str) -> str:
    """One spelling for what is the same page: a model may lose a slash or a fragment."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        return url
    return str(parsed.copy_with(fragment=None)).rstrip("/")


WEBPAGE = Webpage()
