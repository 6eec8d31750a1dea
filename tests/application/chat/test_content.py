"""Documents as Khoj's clients send them: what is indexed, what is refused, and what chats make of them."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from application import files as uploads
from domain.key import ALL_SCOPES, Terms
from runtime.commands.replay import replay
from tests.support.chat import ask
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.content import found, parts, sent
from tests.support.files import pdf_of, showing, zip_bomb
from tests.support.service import Service, client_of, eventually

CAT = "Zorblax the cat sleeps on the warm radiator all winter."
BOAT = "The boat needs new sails before the regatta in June."
PAGE = (
    "<html><head><title>Bees</title><style>p{}</style></head><body><nav>Home</nav><article><h1>Bees</h1>"
    "<p>Bees dance to tell each other where the flowers are, and how far away.</p></article></body></html>"
)


@pytest.fixture
def khoj(service: Service) -> Iterator[httpx.Client]:
    """A client with an owner of this test's own, who has no documents yet."""
    secret = f"kk-{uuid4().hex}"
    service.worker.cells.create_key(secret, "khoj", f"owner-{uuid4().hex}", ALL_SCOPES, Terms(dialect="khoj"))
    with client_of(service.url, secret) as client:
        yield client


def names(client: httpx.Client, **params: str) -> list[str]:
    found: list[str] = client.get("/api/content/computer", params=params).json()
    return found


def text(client: httpx.Client, name: str, **params: str) -> str:
    answer = client.get("/api/content/file", params={"file_name": name, **params})
    assert answer.status_code == 200, answer.text
    assert answer.json()["file_name"] == name
    return str(answer.json()["raw_text"])


def refused(answer: httpx.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"status", "error", "message", "detail"}
    assert body["status"] == "error"
    return str(body["error"])


# --- sending ----------------------------------------------------------------------------------------


def test_text_markdown_pdf_and_html_are_indexed_at_once(khoj: httpx.Client) -> None:
    body = sent(
        khoj,
        ("notes/pets.md", f"# Pets\n\n{CAT}", "text/markdown"),
        ("plan.txt", BOAT, "text/plain"),
        ("report.pdf", pdf_of(showing("Revenue grew by seven percent")), "application/pdf"),
        ("bees.html", PAGE, "text/html"),
        ("todo.org", "* Garden\nPlant the tulips", "text/org"),
    )
    assert body == {
        "status": "ok",
        "indexed": ["notes/pets.md", "plan.txt", "report.pdf", "bees.html", "todo.org"],
        "removed": [],
        "refused": [],
    }
    assert names(khoj) == ["bees.html", "notes/pets.md", "plan.txt", "report.pdf", "todo.org"]
    assert text(khoj, "plan.txt") == BOAT
    assert "Revenue grew by seven percent" in text(khoj, "report.pdf")
    assert "Bees dance" in text(khoj, "bees.html")
    assert "p{}" not in text(khoj, "bees.html")
    for query, file in (("how did revenue grow?", "report.pdf"), ("do bees dance?", "bees.html")):
        assert found(khoj, query)[0]["additional"]["file"] == file


def test_what_cannot_be_read_is_told_and_spoils_nothing_else(khoj: httpx.Client) -> None:
    body = sent(
        khoj,
        ("bad.pdf", b"this is no PDF", "application/pdf"),
        ("bomb.docx", zip_bomb(), "application/zip"),
        ("noise.bin", bytes(range(256)) * 20, "application/octet-stream"),
        ("good.md", CAT),
    )
    assert body["indexed"] == ["good.md"]
    reasons = {one["file"]: one["reason"] for one in body["refused"]}
    assert reasons.keys() == {"bad.pdf", "bomb.docx", "noise.bin"}
    assert "not a PDF" in reasons["bad.pdf"]
    assert "not supported" in reasons["bomb.docx"]
    assert names(khoj) == ["good.md"]


def test_nothing_but_what_cannot_be_read_is_422_and_removes_nothing(khoj: httpx.Client) -> None:
    sent(khoj, ("good.md", CAT))
    for method in ("PUT", "PATCH"):
        answer = khoj.request(
            method, "/api/content", files=parts(("bad.pdf", b"none"), ("x.zip", zip_bomb()))
        )
        assert "bad.pdf: this is not a PDF" in refused(answer)
        assert [fault["loc"] for fault in answer.json()["detail"]] == [["body", "bad.pdf"], ["body", "x.zip"]]
    assert names(khoj) == ["good.md"]


def test_put_removes_what_is_not_sent(khoj: httpx.Client) -> None:
    sent(khoj, ("a.md", CAT), ("b.md", BOAT), ("c.md", "Some other text"))
    body = sent(khoj, ("b.md", BOAT), ("d.md", "A new one"), ("e.md", b""), method="PUT")
    assert (body["indexed"], body["removed"]) == (["b.md", "d.md"], ["a.md", "c.md"])
    assert names(khoj) == ["b.md", "d.md"]
    assert CAT not in [hit["entry"] for hit in found(khoj, CAT)]


def test_put_keeps_the_earlier_version_of_what_cannot_be_read_now(khoj: httpx.Client) -> None:
    sent(khoj, ("a.pdf", pdf_of(showing("The first version"))), ("b.md", BOAT))
    body = sent(khoj, ("a.pdf", b"broken"), ("c.md", CAT), method="PUT")
    assert body["removed"] == ["b.md"]
    assert names(khoj) == ["a.pdf", "c.md"]


def test_patch_leaves_others_and_an_empty_file_removes_the_one_of_its_name(khoj: httpx.Client) -> None:
    sent(khoj, ("a.md", CAT), ("b.md", BOAT))
    body = sent(khoj, ("a.md", b""), ("never-there.md", b""), ("c.md", "New"))
    assert (body["indexed"], body["removed"]) == (["c.md"], ["a.md"])
    assert names(khoj) == ["b.md", "c.md"]
    assert khoj.get("/api/content/file", params={"file_name": "a.md"}).status_code == 404


def test_emacs_sends_a_form_of_its_own_making(khoj: httpx.Client) -> None:
    body = (
        "\r\n--khoj\r\n"
        'Content-Disposition: form-data; name="files"; filename="/home/ann/größe.org"\r\n'
        "Content-Type: text/org\r\n\r\n* Garden\nPlant the tulips\r\n--khoj--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=khoj"}
    answer = khoj.put("/api/content?client=emacs", content=body.encode(), headers=headers)
    assert answer.json()["indexed"] == ["/home/ann/größe.org"]
    assert text(khoj, "/home/ann/größe.org") == "* Garden\nPlant the tulips"


def test_an_unchanged_document_makes_no_event(khoj: httpx.Client, service: Service) -> None:
    def events() -> int:
        with service.worker.cells.first.pool.connection() as conn:
            row = conn.execute("SELECT count(*) FROM events WHERE owner = %s", (owner,)).fetchone()
        return int(row[0]) if row else 0

    owner = khoj.get("/api/v1/user").json()["username"]
    sent(khoj, ("a.md", CAT), ("b.md", BOAT))
    before = events()
    assert sent(khoj, ("a.md", CAT), ("b.md", BOAT), method="PUT")["indexed"] == ["a.md", "b.md"]
    assert events() == before
    sent(khoj, ("a.md", CAT + " And in summer?"), ("b.md", BOAT))
    assert events() == before + 1


def test_an_upload_with_a_key_is_done_once(khoj: httpx.Client) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.md"\r\n\r\nOld\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Idempotency-Key": "upload-1"}
    first = khoj.patch("/api/content", content=form, headers=headers)
    sent(khoj, ("a.md", "New"))
    again = khoj.patch("/api/content", content=form, headers=headers)
    assert first.json() == again.json()
    assert text(khoj, "a.md") == "New"
    other = khoj.patch("/api/content", content=form.replace(b"Old", b"Odd"), headers=headers)
    assert "Idempotency-Key" in refused(other)


def test_a_removal_with_a_key_is_done_once_and_answered_alike(khoj: httpx.Client) -> None:
    sent(khoj, ("a.md", CAT), ("b.md", BOAT))
    key = {"Idempotency-Key": "removal-1"}
    assert khoj.delete("/api/content/computer", headers=key).json()["deleted_count"] == 2
    assert khoj.delete("/api/content/computer", headers=key).json()["deleted_count"] == 2
    sent(khoj, ("a.md", CAT))
    assert khoj.delete("/api/content/computer", headers=key).json()["deleted_count"] == 2
    assert names(khoj) == ["a.md"]


def test_of_two_files_of_one_name_the_last_counts(khoj: httpx.Client) -> None:
    assert sent(khoj, ("a.md", CAT), ("a.md", BOAT))["indexed"] == ["a.md"]
    assert text(khoj, "a.md") == BOAT


def test_a_request_takes_a_thousand_files_and_no_more(khoj: httpx.Client) -> None:
    many = [(f"{number}.txt", f"Number {number}") for number in range(1_001)]
    answer = khoj.patch("/api/content", files=parts(*many))
    assert "1,001 files are too many" in refused(answer)
    assert names(khoj) == []
    assert len(sent(khoj, *many[:1_000])["indexed"]) == 1_000
    eventually(lambda: len(names(khoj)) == 1_000)  # a list waits some seconds for so many, not minutes
    assert khoj.delete("/api/content/computer").json() == {"status": "ok", "deleted_count": 1_000}
    assert names(khoj) == []


def test_texts_beyond_what_one_request_may_hold_are_to_be_sent_again(
    khoj: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_CHARACTERS", 100)
    body = sent(khoj, ("a.md", "x" * 60), ("b.md", "y" * 60), ("c.md", "z" * 40))
    assert body["indexed"] == ["a.md", "c.md"]
    assert body["refused"] == [{"file": "b.md", "reason": uploads.FULL}]


def test_files_that_there_is_no_time_for_are_to_be_sent_again(
    khoj: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SECONDS", -1.0)
    assert uploads.LATE in refused(khoj.patch("/api/content", files=parts(("a.md", CAT))))


def test_a_body_that_is_too_large_is_413(khoj: httpx.Client, service: Service) -> None:
    large = ("a.txt", b"x" * (service.settings.max_upload_bytes + 1))
    for method, path in (("PUT", ""), ("PATCH", ""), ("POST", "/convert")):
        refused(khoj.request(method, f"/api/content{path}", files=parts(large)), 413)
    within = ("b.txt", b"text " * (service.settings.max_body_bytes // 5 - 100))  # more than other bodies may
    assert sent(khoj, within, ("c.txt", b"more text " * 50_000))["indexed"] == ["b.txt", "c.txt"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_body_that_is_no_form_with_files_is_422(khoj: httpx.Client, method: str) -> None:
    sent(khoj, ("a.md", CAT))
    refused(khoj.request(method, "/api/content"))
    refused(khoj.request(method, "/api/content", json={"files": []}))
    refused(khoj.request(method, "/api/content", files={"other": ("a.md", b"x")}))
    refused(khoj.request(method, "/api/content", data={"files": "not a file"}, files={"x": b""}))
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    for broken in (b"", b"--b", b"--b\r\n\r\nx", b"--b--\r\n", b"\xff" * 100):
        refused(khoj.request(method, "/api/content", content=broken, headers=form))
    assert names(khoj) == ["a.md"]


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a b%20c?&#.md", "Ünïcode 📎.md", "%s' OR 1=1 --",
     "<script>alert(1)</script>.md", "x" * 1_000, "ü" * 500],
)  # fmt: skip
def test_a_name_is_only_a_name_however_it_looks(khoj: httpx.Client, name: str) -> None:
    (kept,) = sent(khoj, (name, CAT))["indexed"]
    assert kept == name
    assert names(khoj) == [name]
    assert text(khoj, name) == CAT
    assert found(khoj, "the cat")[0]["additional"]["file"] == name
    assert khoj.delete("/api/content/file", params={"filename": name}).json()["deleted_count"] == 1
    assert names(khoj) == []


@pytest.mark.parametrize("place", ["C:\\Users\\ann\\", "\\\\server\\notes\\"])
def test_a_path_of_windows_is_kept_whole(khoj: httpx.Client, place: str) -> None:
    """Else files of the same name in two places would be one."""
    form = '--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\nText\r\n'
    body = form % f"{place}a.md" + form % f"{place}old\\a.md" + "--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    khoj.patch("/api/content", content=body.encode(), headers=headers)
    assert set(names(khoj)) == {f"{place}a.md", f"{place}old\\a.md"}


@pytest.mark.parametrize("name", ["a\0b.md", "a\x1b[31m.md", "a\x7f", "x" * 2_000, "ü" * 501, " "])
def test_a_name_that_cannot_be_kept_is_refused_alone(khoj: httpx.Client, name: str) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name=files; filename="%s"\r\n\r\n%s\r\n'
    body = form % (name.encode(), b"text") + form % (b"good.md", CAT.encode()) + b"--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = khoj.patch("/api/content", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["indexed"] == ["good.md"]
    (one,) = answer.json()["refused"]
    assert "name" in one["reason"]
    assert len(one["file"]) <= 101 and one["file"].isprintable()
    assert names(khoj) == ["good.md"]


def test_the_longest_name_of_the_longest_user_can_be_searched(khoj: httpx.Client) -> None:
    user, name = "\U0001f600" * 255, "".join(chr(0x4E00 + 7 * number) for number in range(333))
    sent(khoj, (name, CAT), user_id=user)
    assert [hit["additional"]["file"] for hit in found(khoj, "the cat", user_id=user)] == [name]


# --- looking ----------------------------------------------------------------------------------------


def test_files_are_listed_ten_a_page(khoj: httpx.Client) -> None:
    sent(khoj, *[(f"{number:02}.txt", "word " * 300 + str(number)) for number in range(12)])
    first = khoj.get("/api/content/files", params={"page": 0}).json()
    assert first["num_pages"] == 2
    assert [one["file_name"] for one in first["files"]] == [f"{number:02}.txt" for number in range(10)]
    assert first["files"][0].keys() == {"file_name", "raw_text", "updated_at"}
    assert len(first["files"][0]["raw_text"]) == 1_000
    whole = khoj.get("/api/content/files", params={"page": 1, "truncated": "false"}).json()["files"]
    assert [len(one["raw_text"]) for one in whole] == [1_502, 1_502]
    assert khoj.get("/api/content/files", params={"page": 2}).json() == {"files": [], "num_pages": 2}
    for page in ("-1", "x", str(2**70)):
        refused(khoj.get("/api/content/files", params={"page": page}))


def test_size_types_and_sources_are_told(khoj: httpx.Client) -> None:
    assert khoj.get("/api/content/size").json() == {"indexed_data_size_in_mb": 0}
    sent(khoj, ("a.txt", "x " * 600_000))
    assert khoj.get("/api/content/size").json() == {"indexed_data_size_in_mb": 2}
    types = khoj.get("/api/content/types").json()
    assert {"all", "plaintext", "markdown", "org", "pdf", "html"} == set(types)
    assert khoj.get("/api/content/computer").json() == ["a.txt"]
    assert khoj.get("/api/content/github").json() == []


def test_the_user_and_the_settings_know_whether_there_are_documents(khoj: httpx.Client) -> None:
    def told() -> list[bool]:
        detailed = khoj.get("/api/settings?detailed=true").json()
        return [
            khoj.get("/api/v1/user").json()["has_documents"],
            khoj.get("/api/settings").json()["has_documents"],
            detailed["has_documents"],
            detailed["enabled_content_source"]["computer"],
        ]

    assert told() == [False] * 4
    sent(khoj, ("a.md", CAT))
    assert told() == [True] * 4
    khoj.delete("/api/content/computer")
    assert told() == [False] * 4


def test_a_file_that_is_not_there_is_404(khoj: httpx.Client) -> None:
    assert refused(khoj.get("/api/content/file", params={"file_name": "none.md"}), 404) == "File not found"
    refused(khoj.get("/api/content/file"))


def test_search_tells_passages_as_khoj_does(khoj: httpx.Client) -> None:
    sent(khoj, ("pets.md", f"# Pets\n\n{CAT}"), ("boat.txt", BOAT), ("copy.md", f"# Pets\n\n{CAT}"))
    hit, *others = found(khoj, "where does the cat sleep?", n=5)
    assert hit.keys() == {"entry", "score", "additional", "corpus-id"}
    assert CAT in hit["entry"]
    assert 0 < hit["score"] <= 1
    assert hit["additional"]["source"] == "computer"
    assert hit["additional"]["query"] == "where does the cat sleep?"
    assert CAT not in str(others)  # the copy says the same
    both = found(khoj, "where does the cat sleep?", dedupe="false")
    assert {one["additional"]["file"] for one in both} >= {"pets.md", "copy.md"}
    assert len({one["corpus-id"] for one in both}) == len(both)
    assert len(found(khoj, "cat", n=1)) == 1


def test_search_can_be_limited_to_files_and_types(khoj: httpx.Client) -> None:
    sent(khoj, ("pets.md", CAT), ("pets.txt", CAT.upper()), ("page.html", PAGE))
    assert {hit["additional"]["file"] for hit in found(khoj, "cat", t="markdown")} == {"pets.md"}
    assert {hit["additional"]["file"] for hit in found(khoj, 'cat file:"*.txt"')} == {"pets.txt"}
    assert found(khoj, 'cat file:"other.md"') == []
    assert found(khoj, "cat", t="docx") == []
    assert found(khoj, "  ") == []
    assert found(khoj, 'file:"pets.md"') == []
    for wrong in ({"n": "0"}, {"n": "x"}, {"t": "tapes"}, {"n": str(2**70)}):
        refused(khoj.get("/api/search", params={"q": "cat", **wrong}))
    refused(khoj.get("/api/search"))


# --- removing ---------------------------------------------------------------------------------------


def test_documents_are_removed_by_name_by_type_and_all_at_once(khoj: httpx.Client) -> None:
    sent(khoj, *[(name, f"Text of {name}") for name in ("a.md", "b.md", "c.txt", "d.txt", "e.org", "f.org")])
    answer = khoj.delete("/api/content/file", params={"filename": "a.md", "client": "web"})
    assert answer.json() == {"status": "ok", "deleted_count": 1}
    assert khoj.delete("/api/content/file", params={"filename": "a.md"}).json()["deleted_count"] == 0
    gone = khoj.request("DELETE", "/api/content/files", json={"files": ["b.md", "c.txt", "none"]})
    assert gone.json()["deleted_count"] == 2
    assert khoj.delete("/api/content/type/org").json()["deleted_count"] == 2
    assert names(khoj) == ["d.txt"]
    assert khoj.delete("/api/content/github").json()["deleted_count"] == 0
    assert khoj.delete("/api/content/computer").json()["deleted_count"] == 1
    assert names(khoj) == []


def test_many_who_remove_the_same_at_once_do_not_disturb_each_other(khoj: httpx.Client) -> None:
    sent(khoj, *[(f"{number}.md", f"Number {number}") for number in range(20)])
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: khoj.delete("/api/content/computer"), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert sum(answer.json()["deleted_count"] for answer in answers) == 20
    assert names(khoj) == []


def test_a_removed_document_can_be_sent_again(khoj: httpx.Client) -> None:
    sent(khoj, ("a.md", CAT))
    khoj.delete("/api/content/computer")
    sent(khoj, ("a.md", CAT))
    assert text(khoj, "a.md") == CAT
    assert found(khoj, "cat")


@pytest.mark.parametrize("body", [None, {}, {"files": "a.md"}, {"files": [5]}, {"files": ["a\0"]}])
def test_removing_nothing_that_can_be_named_is_422(khoj: httpx.Client, body: Any) -> None:
    refused(khoj.request("DELETE", "/api/content/files", json=body))
    refused(khoj.delete("/api/content/file"))


# --- whose they are ---------------------------------------------------------------------------------


def test_another_owner_sees_finds_and_removes_nothing(khoj: httpx.Client, stranger: httpx.Client) -> None:
    sent(khoj, ("pets.md", CAT))
    assert names(stranger) == []
    assert found(stranger, "the cat") == []
    assert stranger.get("/api/content/files").json() == {"files": [], "num_pages": 0}
    refused(stranger.get("/api/content/file", params={"file_name": "pets.md"}), 404)
    assert stranger.delete("/api/content/file", params={"filename": "pets.md"}).json()["deleted_count"] == 0
    assert stranger.delete("/api/content/computer").json()["deleted_count"] == 0
    sent(stranger, ("pets.md", BOAT), method="PUT")
    assert text(khoj, "pets.md") == CAT
    stranger.delete("/api/content/computer")
    assert names(khoj) == ["pets.md"]


def test_users_of_one_owner_have_documents_of_their_own(khoj: httpx.Client) -> None:
    sent(khoj, ("a.md", CAT), user_id="ann")
    sent(khoj, ("a.md", BOAT), user_id="bob", method="PUT")
    assert (text(khoj, "a.md", user_id="ann"), text(khoj, "a.md", user_id="bob")) == (CAT, BOAT)
    assert names(khoj) == []
    assert names(khoj, user_id="ann") == ["a.md"]
    assert found(khoj, "cat") == []
    assert khoj.get("/api/v1/user", params={"user_id": "ann"}).json()["has_documents"] is True
    assert khoj.get("/api/v1/user").json()["has_documents"] is False


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/content"), ("PATCH", "/content"), ("POST", "/content/convert"), ("GET", "/content/computer"),
     ("DELETE", "/content/computer"), ("GET", "/content/files"), ("GET", "/search?q=x")],
)  # fmt: skip
def test_without_a_key_all_is_401(service: Service, method: str, path: str) -> None:
    assert httpx.request(method, f"{service.url}/api{path}").status_code == 401


# --- what becomes of them ---------------------------------------------------------------------------


def test_convert_tells_texts_and_keeps_nothing(khoj: httpx.Client) -> None:
    files = parts(
        ("r.pdf", pdf_of(showing("Revenue grew")), "application/pdf"), ("ü.md", "Größe"), ("bad.pdf", b"x")
    )
    answer = khoj.post("/api/content/convert", params={"client": "web"}, files=files)
    assert answer.status_code == 200, answer.text
    report, note = answer.json()
    assert report["file_type"] == "pdf" and "Revenue grew" in report["content"]
    assert note == {"name": "ü.md", "content": "Größe", "file_type": "markdown", "size": 7}
    assert names(khoj) == []
    assert "not a PDF" in refused(khoj.post("/api/content/convert", files=parts(("bad.pdf", b"x"))))


def test_convert_passes_over_what_is_not_supported(khoj: httpx.Client) -> None:
    noise = ("noise.bin", bytes(range(256)) * 20, "application/octet-stream")
    answer = khoj.post("/api/content/convert", files=parts(noise))
    assert (answer.status_code, answer.json()) == (200, [])
    (one,) = khoj.post("/api/content/convert", files=parts(noise, ("good.md", CAT))).json()
    assert one["name"] == "good.md"


SLOW = f"<html><body><article>{'<p>one <b>two</b> and more of it</p>' * 10_000}</article></body></html>"
"""Some seconds of reading."""


def test_one_owners_many_files_keep_no_other_waiting(service: Service, khoj: httpx.Client) -> None:
    secret = f"kk-{uuid4().hex}"
    service.worker.cells.create_key(secret, "reads", f"owner-{uuid4().hex}", ("read",))
    with client_of(service.url, secret) as greedy, ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(_converted, greedy, SLOW) for _ in range(8)]
        eventually(lambda: _readers() == uploads.OF_ONE_OWNER)
        assert _converted(khoj, PAGE).json()[0]["content"]
        assert sum(not one.done() for one in flood) >= 4  # 2 of them at once
        assert {one.result().status_code for one in flood} == {200}


def test_an_owner_with_too_many_files_waiting_is_told_to_come_back(
    khoj: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_REQUESTS", 3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _converted(khoj, SLOW), range(8)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    crowded = answers[statuses.index(429)]
    assert crowded.headers["Retry-After"] == "10"
    assert "of 3 other requests" in refused(crowded, 429)
    assert _converted(khoj, PAGE).status_code == 200


def _readers() -> int:
    """How many files are read now."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_text()
            found += "documents/child.py" in line and str(os.getpid()) in line.split("\0")
    return found


def _converted(client: httpx.Client, page: str) -> httpx.Response:
    return client.post("/api/content/convert", files=parts(("a.html", page)), timeout=120)


def test_a_file_without_a_name_is_told_in_words_and_spoils_nothing_else(khoj: httpx.Client) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\nwords\r\n'
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="good.md"\r\n\r\nwords\r\n--x--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    body = khoj.patch("/api/content", content=form, headers=headers).json()
    assert body["indexed"] == ["good.md"]
    assert body["refused"] == [{"file": "", "reason": "the file has no name"}]
    alone = form.partition(b"--x\r\n")[2].partition(b"--x\r\n")[0]
    answer = khoj.patch("/api/content", content=b"--x\r\n" + alone + b"--x--\r\n", headers=headers)
    assert "no name" in refused(answer)


def test_replay_keeps_documents(khoj: httpx.Client, service: Service) -> None:
    sent(khoj, ("a.md", CAT), ("b.md", BOAT))
    sent(khoj, ("b.md", b""))
    before = found(khoj, "the cat")
    for projection in ("documents", "passages"):
        replay(service.settings, projection, roll_back=False, as_json=True)
    assert names(khoj) == ["a.md"]
    assert found(khoj, "the cat") == before


def test_notes_in_a_chat_use_an_uploaded_document(khoj: httpx.Client, model: ScriptedChat) -> None:
    sent(khoj, ("pets.md", CAT), ("report.pdf", pdf_of(showing("The radiator was repaired in May"))))
    model.answers = [Scripted(calls=[("notes", {"queries": ["where is the cat"]})]), "On the radiator."]
    body = ask(khoj, "/notes Where is the cat?")
    assert body["response"] == "On the radiator."
    context = body["references"]["context"]
    assert {one["file"] for one in context} >= {"pets.md"}
    assert CAT in context[0]["compiled"]
    assert CAT in str(model.asked[-1]["messages"])


def test_file_filters_limit_what_notes_are_looked_for_in(khoj: httpx.Client, model: ScriptedChat) -> None:
    sent(khoj, ("pets.md", CAT), ("report.pdf", pdf_of(showing("The cat radiator was repaired in May"))))
    id = khoj.post("/api/chat/sessions").json()["conversation_id"]
    chosen = khoj.post(
        "/api/chat/conversation/file-filters", json={"conversation_id": id, "filename": "report.pdf"}
    )
    assert chosen.json() == ["report.pdf"]
    model.answers = [Scripted(calls=[("notes", {"queries": ["cat radiator"]})]), "Repaired."]
    body = ask(khoj, "/notes What about the radiator?", conversation_id=id)
    assert {one["file"] for one in body["references"]["context"]} == {"report.pdf"}
    assert CAT not in str(model.asked)
