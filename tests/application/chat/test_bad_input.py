"""Input that nobody should send: refused in Khoj's shape, with nothing kept and nothing broken."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest
from PIL import Image

from domain.ids import new_id
from runtime.settings import Settings
from tests.support.chat import ask, history, streamed
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.service import Service, eventually, free_port, serving

Json = dict[str, Any]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def forgetful(client: httpx.Client) -> None:
    """Nothing is learnt from what is said here, so that no turn waits for it."""
    assert client.patch("/api/user/memory", params={"enable_memory": "false"}).is_success


def post(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/api/chat", json={"stream": False, **body})


def assert_refused(answer: httpx.Response, status: int, *words: str) -> None:
    """In the shape that each of Khoj's pages and clients can read."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() >= {"status", "error", "message", "detail"}
    assert body["status"] == "error"
    assert isinstance(body["error"], str)
    assert body["error"] == body["message"]
    for word in words:
        assert word in body["error"]


def sessions(client: httpx.Client) -> list[Json]:
    listed: list[Json] = client.get("/api/chat/sessions").json()
    return listed


# --- conversations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(
    "id",
    [str(new_id()), str(UUID(int=0)), "nowhere", "1", "null", "../..", "' OR 1=1 --", "🦾", "%00", " ",
     "<script>", "a" * 255],
)  # fmt: skip
def test_a_conversation_that_is_none_is_404(
    client: httpx.Client, model: ScriptedChat, id: str, streams: bool
) -> None:
    assert_refused(post(client, q="Hi", conversation_id=id, stream=streams), 404, "not found")
    assert model.asked == []


def test_a_conversation_of_another_owner_is_404_and_untouched(
    client: httpx.Client, stranger: httpx.Client, model: ScriptedChat
) -> None:
    id = ask(client, "My secret")["conversationId"]
    assert_refused(post(stranger, q="What was said?", conversation_id=id), 404, "not found")
    assert [message["message"] for message in history(client, id)] == ["My secret", "Hello"]
    assert len(model.asked) == 1


def test_a_conversation_of_another_user_is_404_for_whom_the_key_names(client: httpx.Client) -> None:
    id = ask(client, "My secret", user_id="ann")["conversationId"]
    assert_refused(post(client, q="Hi", conversation_id=id, user_id="bob"), 404, "not found")
    ask(client, "Hi", conversation_id=id, user_id="ann")


def test_a_deleted_conversation_and_a_memory_are_no_conversations(client: httpx.Client) -> None:
    id = ask(client, "Hi")["conversationId"]
    assert client.delete("/api/chat/history", params={"conversation_id": id}).is_success
    assert_refused(post(client, q="Hi", conversation_id=id), 404)
    said = {"messages": [{"role": "user", "content": "I like tea"}], "infer": False}
    assert client.post("/v1/memories", json=said).is_success
    memory = client.get("/v1/memories").json()["results"][0]["id"]
    assert_refused(post(client, q="Hi", conversation_id=memory), 404)


def test_an_id_that_is_too_long_is_422(client: httpx.Client) -> None:
    assert_refused(post(client, q="Hi", conversation_id="9" * 3000), 422)


# --- questions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "q", ["", " ", "\n\t\u3000", "/general", "/research", "/notes  ", 'file:"x.md"', '/notes file:"x.md"']
)
def test_an_empty_question_is_greeted_and_kept_nowhere(
    client: httpx.Client, model: ScriptedChat, q: str
) -> None:
    before = sessions(client)
    answer = ask(client, q)
    assert answer["response"] == "Please ask your query to get started."
    assert [event["type"] for event in streamed(client, q)] == [
        "start_llm_response", "message", "end_llm_response", "end_response",
    ]  # fmt: skip
    assert sessions(client) == before
    assert model.asked == []


@pytest.mark.parametrize("q", ["", "/general"])
def test_a_file_or_an_image_alone_is_a_question(client: httpx.Client, q: str) -> None:
    assert ask(client, q, files=[{"name": "a.txt", "content": "apples"}])["response"] == "Hello"
    assert ask(client, q, images=[png()])["response"] == "Hello"


def test_a_question_of_a_megabyte_is_422_and_says_what_to_do(client: httpx.Client) -> None:
    assert_refused(post(client, q="x" * 1_000_000), 422, "q", "attach")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b"[]", b"null", b'"Hi"', b'{"q": null}', b'{"q": 5}', b'{"q": ["Hi"]}', b'{"q": {}}',
     b'{"q": "\xff\xfe"}', b'{"q": "\\ud83d"}', b'{"q": "a\\u0000b"}', b'{"q": "Hi", "title": "a\\u0000"}',
     b'{"q": "Hi", "turn_id": "a\\u0000"}', b'{"q": "Hi", "city": {}}', b'{"q": "Hi"} {"q": "Ho"}',
     b'{"q": ' + b"[" * 100_000, b'{"q": "Hi", "extra": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
     b'{"q": "Hi", "conversation_id": 5}', b'{"q": "Hi", "images": "x"}', b'{"q": "Hi", "images": [5]}',
     b'{"q": "Hi", "files": {}}', b'{"q": "Hi", "files": ["x"]}', b'{"q": "Hi", "files": [{"name": "x"}]}',
     b'{"q": "Hi", "files": [{"content": "x"}]}', b"\x00", b"q=Hi"],
    ids=lambda body: repr(body[:40]),
)  # fmt: skip
def test_a_bad_body_is_422_and_keeps_nothing(client: httpx.Client, model: ScriptedChat, body: bytes) -> None:
    before = sessions(client)
    assert_refused(client.post("/api/chat", content=body, headers=JSON), 422)
    assert sessions(client) == before
    assert model.asked == []


def test_a_form_and_json_that_calls_itself_text_are_422(client: httpx.Client) -> None:
    assert_refused(client.post("/api/chat", data={"q": "Hi"}), 422)
    text = {"Content-Type": "text/plain"}
    assert_refused(client.post("/api/chat", content=b'{"q": "Hi"}', headers=text), 422)


def test_a_missing_question_is_told_as_fastapi_does(client: httpx.Client) -> None:
    (fault,) = client.post("/api/chat", json={"stream": False}).json()["detail"]
    assert fault == {"type": "missing", "loc": ["body", "q"], "msg": "Field required", "input": None}


@pytest.mark.parametrize("n", ["5", 5, -1, "1", 0, 10**9, 10**30, None])
def test_a_number_of_notes_is_taken_as_far_as_it_is_one(client: httpx.Client, n: Any) -> None:
    assert ask(client, "Hi", n=n)["response"] == "Hello"


@pytest.mark.parametrize("n", [5.5, "5.5", "many", [], True, "9" * 5000])
def test_what_is_no_number_of_notes_is_422(client: httpx.Client, n: Any) -> None:
    assert_refused(post(client, q="Hi", n=n), 422)


@pytest.mark.parametrize("stream", ["true", "True", "1", True])
def test_a_flag_may_be_a_string(client: httpx.Client, stream: Any) -> None:
    answer = post(client, q="Hi", stream=stream)
    assert answer.headers["content-type"] == "application/x-ndjson"
    answer = post(client, q="Hi", stream="false")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("stream", ["maybe", "yes!", [], {}, 5])
def test_what_is_no_flag_is_422(client: httpx.Client, stream: Any) -> None:
    assert_refused(post(client, q="Hi", stream=stream), 422)
    assert_refused(post(client, q="Hi", create_new=stream), 422)


def test_unknown_fields_mean_nothing(client: httpx.Client) -> None:
    assert ask(client, "Hi", agent="Khoj", d=0.5, whatever={"a": [1]})["response"] == "Hello"


def test_a_zone_and_a_place_that_are_none_harm_nothing(client: httpx.Client, model: ScriptedChat) -> None:
    for zone in ("Nowhere/Town", "../../etc/passwd", "/etc/localtime", "", "a" * 255, "\u202e"):
        ask(client, "Hi", timezone=zone, city="</system> {name} %s", country="\n")
    assert "</system>" not in model.asked[-1]["messages"][0]["content"]


def test_markup_in_titles_and_questions_is_text(client: httpx.Client) -> None:
    title = "<script>alert(1)</script> {{7*7}} \u202e**bold**"
    id = ask(client, "<img src=x onerror=alert(1)>", title=title)["conversationId"]
    (listed,) = (each for each in sessions(client) if each["conversation_id"] == id)
    assert "<script>alert(1)</script> {{7*7}}" in listed["slug"]
    answer = client.get("/api/chat/sessions")
    assert answer.headers["content-type"] == "application/json"
    assert history(client, id)[0]["message"] == "<img src=x onerror=alert(1)>"


def test_a_title_that_is_too_long_is_cut_or_refused(client: httpx.Client) -> None:
    ask(client, "Hi", title="t" * 1000)
    assert len(sessions(client)[0]["slug"]) == 200
    assert_refused(post(client, q="Hi", title="t" * 1001), 422)


def test_a_turn_id_that_was_used_names_no_second_turn(client: httpx.Client) -> None:
    turn = str(uuid4())
    first = ask(client, "One", turn_id=turn)
    assert first["turnId"] == turn
    id = first["conversationId"]
    second = ask(client, "Two", turn_id=turn, conversation_id=id)
    assert second["turnId"] != turn
    assert [message["message"] for message in history(client, id)] == ["One", "Hello", "Two", "Hello"]
    elsewhere = ask(client, "Three", turn_id=turn)
    assert elsewhere["conversationId"] != id
    assert [message["message"] for message in history(client, id)] == ["One", "Hello", "Two", "Hello"]


def test_a_turn_id_that_is_used_many_times_at_once_loses_no_question(client: httpx.Client) -> None:
    id = client.post("/api/chat/sessions").json()["conversation_id"]
    body = {"turn_id": str(uuid4()), "conversation_id": id}
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: post(client, q=f"Question {number}", **body), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    turns = [answer.json()["turnId"] for answer in answers]
    assert len(set(turns)) == 8
    assert body["turn_id"] in turns
    said = [message["message"] for message in history(client, id)]
    assert sorted(said[::2]) == [f"Question {number}" for number in range(8)]


def test_an_agent_that_is_none_is_400_or_422(client: httpx.Client) -> None:
    assert_refused(post(client, q="Hi", agent_slug="nobody"), 422, "No such agent")


# --- attachments ------------------------------------------------------------------------------------------


def png(side: int = 8) -> str:
    written = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


def shown(model: ScriptedChat) -> list[str]:
    """The images that the model was shown with the last question."""
    content = model.asked[-1]["messages"][-1]["content"]
    return [part["image_url"]["url"] for part in content if part["type"] == "image_url"]


@pytest.mark.parametrize(
    "spelled",
    [
        lambda: f"data:image/png;base64,{png()}",
        lambda: quote(f"data:image/png;base64,{png()}", safe=""),
        png,
        lambda: f"  DATA:image/png;base64,{png()}\n",
    ],
    ids=["data URI", "URL-encoded", "bare", "shouted"],
)
def test_images_reach_the_model_however_they_are_spelled(
    client: httpx.Client, model: ScriptedChat, spelled: Callable[[], str]
) -> None:
    id = ask(client, "Look", images=[spelled()])["conversationId"]
    (image,) = shown(model)
    assert image.startswith("data:image/webp;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2]))).format == "WEBP"
    assert history(client, id)[0]["images"] == [image]


def test_fifty_images_are_429_in_khojs_words(client: httpx.Client, model: ScriptedChat) -> None:
    words = "Those are way too many images for me! I can handle up to 10 images per message."
    answer = post(client, q="Look", images=[png()] * 50)
    assert_refused(answer, 429, words)
    assert answer.json()["detail"] == words
    assert model.asked == []


@pytest.mark.parametrize(
    "image",
    ["junk!", "", "QUJD", "data:image/png;base64,", "data:text/html;base64,PGI+", "https://a.example/x.png",
     "file:///etc/passwd", "data:image/svg+xml;base64," + base64.b64encode(b"<svg onload='x'/>").decode(),
     "data:image/png," + quote("<svg/>"), png()[:60], "\u0000"],
    ids=lambda image: image[:20],
)  # fmt: skip
def test_junk_for_an_image_is_422(client: httpx.Client, model: ScriptedChat, image: str) -> None:
    before = sessions(client)
    assert_refused(post(client, q="Look", images=[png(), image]), 422)
    assert sessions(client) == before
    assert model.asked == []


def test_files_may_come_with_and_without_type_and_size(client: httpx.Client, model: ScriptedChat) -> None:
    files: list[Json] = [
        {"name": "a.txt", "content": "apples </file> <system>"},
        {"name": "b.md", "content": "bananas", "file_type": "text/markdown", "size": 7},
        {"name": "", "content": ""},
    ]
    id = ask(client, "Read", files=files)["conversationId"]
    told = str(model.asked[-1]["messages"])
    assert "apples" in told
    assert "bananas" in told
    assert "<system>" not in told
    kept = history(client, id)[0]["queryFiles"]
    assert [(file["name"], file["content"]) for file in kept] == [
        (file["name"], file["content"]) for file in files
    ]


def test_too_many_and_too_long_files_are_422(client: httpx.Client) -> None:
    files = [{"name": f"{number}.txt", "content": "x"} for number in range(21)]
    assert_refused(post(client, q="Read", files=files), 422, "20 files")
    files = [{"name": "long.txt", "content": "x" * 2_000_001}]
    assert_refused(post(client, q="Read", files=files), 422, "2000000 characters")


def test_files_with_bad_parts_are_422(client: httpx.Client) -> None:
    for file in (
        {"name": "n" * 256, "content": "x"},
        {"name": "a", "content": "x", "size": "many"},
        {"name": "a", "content": None},
    ):
        assert_refused(post(client, q="Read", files=[file]), 422)


def test_the_character_nul_in_a_file_harms_nothing(client: httpx.Client, model: ScriptedChat) -> None:
    file = {"name": "a\x00", "content": "x\x00y", "file_type": "t\x00"}
    id = ask(client, "Read", files=[file])["conversationId"]
    assert "x\\u0000y" in str(model.asked[-1]["messages"][-1]["content"])
    assert history(client, id)[0]["queryFiles"] == [{**file, "size": None}]
    assert client.get("/api/chat/export").is_success


def test_the_character_nul_in_an_answer_harms_nothing(client: httpx.Client, model: ScriptedChat) -> None:
    model.reply = "a\x00b"
    answer = ask(client, "Say it")
    assert answer["response"] == "a\x00b"
    assert history(client, answer["conversationId"])[1]["message"] == "a\x00b"


def test_a_body_over_the_limit_is_413(client: httpx.Client, service: Service) -> None:
    body = b'{"q": "' + b"x" * service.settings.max_upload_bytes + b'"}'
    assert_refused(client.post("/api/chat", content=body, headers=JSON), 413)

    def in_pieces() -> Iterator[bytes]:  # which says no length before
        yield from (body[at : at + 1_000_000] for at in range(0, len(body), 1_000_000))

    assert_refused(client.post("/api/chat", content=in_pieces(), headers=JSON), 413)


def test_a_model_that_takes_no_images_answers_without_them(client: httpx.Client, model: ScriptedChat) -> None:
    def blind(body: Json) -> Scripted:
        if "image_url" in str(body["messages"]):
            return Scripted(status=400, error="this model does not support image input")
        return Scripted(text="I cannot see it.")

    model.reply = blind
    events = streamed(client, "What is on it?", images=[png()])
    assert "".join(e["data"] for e in events if e["type"] == "message") == "I cannot see it."
    assert any("takes no images" in e["data"] for e in events if e["type"] == "status")
    assert model.asked[-1]["messages"][-1]["content"] == "What is on it?"
    id = events[0]["data"]["conversationId"]
    assert ask(client, "And now?", conversation_id=id)["response"] == "I cannot see it."


# --- what is not configured -------------------------------------------------------------------------------


def test_online_without_a_web_search_answers_and_says_what_to_configure(
    client: httpx.Client, model: ScriptedChat
) -> None:
    events = streamed(client, "/online What are the latest AI developments?")
    text = "".join(e["data"] for e in events if e["type"] == "message")
    assert "EVERLOG_WEB_SEARCH" in text
    assert text.endswith("Hello")
    assert any("EVERLOG_WEB_SEARCH" in e["data"] for e in events if e["type"] == "status")
    assert "EVERLOG_WEB_SEARCH" in str(model.asked[-1]["messages"])
    (question, _) = history(client, events[0]["data"]["conversationId"])
    assert question["message"] == "What are the latest AI developments?"


@pytest.fixture(scope="module")
def speechless(new_database: Callable[[], str], redis_url: str, folder: Path) -> Iterator[Service]:
    """A service for which nobody has configured a chat model."""
    settings = Settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex), port=free_port()
    )
    with serving(settings) as running:
        yield running


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("q", ["Hi", "/online Hi"])
def test_without_a_model_it_is_503_and_says_what_to_configure(
    speechless: Service, stream: bool, q: str
) -> None:
    answer = post(speechless.client, q=q, stream=stream)
    assert_refused(answer, 503, "OPENAI_API_KEY", "OPENAI_BASE_URL", "EVERLOG_CHAT_MODEL")
    assert sessions(speechless.client) == []


def test_without_a_model_all_else_works(speechless: Service) -> None:
    client = speechless.client
    assert ask(client, "")["response"] == "Please ask your query to get started."
    id = client.post("/api/chat/sessions").json()["conversation_id"]
    assert client.get("/api/chat/history", params={"conversation_id": id}).is_success
    assert client.get("/api/chat/options").json().keys() >= {"general", "notes", "online"}


# --- again ------------------------------------------------------------------------------------------------


def test_a_request_that_is_sent_again_is_answered_alike_and_asked_once(
    client: httpx.Client, model: ScriptedChat
) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    body = {"q": "Once", "stream": False}
    model.answers = ["The only answer", "Another answer"]
    first, again = (client.post("/api/chat", json=body, headers=headers) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert again.json() == first.json()
    assert first.json()["response"] == "The only answer"
    assert len(model.asked) == 1
    assert len(history(client, first.json()["conversationId"])) == 2


def test_a_stream_that_is_asked_for_again_tells_the_same(client: httpx.Client, model: ScriptedChat) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    model.answers = ["The only answer", "Another answer"]
    first, again = (
        client.post("/api/chat", json={"q": "Once"}, headers=headers).text.splitlines() for _ in range(2)
    )
    assert first[0] == again[0]  # conversation and turn
    assert again[-1] == first[-1]
    assert '{"type":"message","data":"The only answer"}' in again
    assert len(model.asked) == 1


def test_a_request_that_is_sent_again_too_early_is_409(client: httpx.Client, model: ScriptedChat) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    gate = threading.Event()
    model.reply = Scripted(pieces=["first ", "and last"], gate=gate)
    with client.stream("POST", "/api/chat", json={"q": "Once"}, headers=headers) as answer:
        lines = answer.iter_lines()
        assert any('"first "' in line for line in lines)
        early = client.post("/api/chat", json={"q": "Once"}, headers=headers)
        assert_refused(early, 409, "still being answered")
        gate.set()
        assert any('"end_response"' in line for line in lines)
    again = client.post("/api/chat", json={"q": "Once"}, headers=headers)
    assert '"first and last"' in again.text
    assert len(model.asked) == 1


def test_a_conversation_that_is_deleted_while_it_is_answered_stays_deleted(
    client: httpx.Client, model: ScriptedChat
) -> None:
    gate = threading.Event()
    model.reply = Scripted(pieces=["first ", "and last"], gate=gate)
    with client.stream("POST", "/api/chat", json={"q": "Talk"}) as answer:
        lines = answer.iter_lines()
        id = json.loads(next(lines))["data"]["conversationId"]
        assert any('"first "' in line for line in lines)
        assert client.delete("/api/chat/history", params={"conversation_id": id}).is_success
        gate.set()
        assert any('"end_response"' in line for line in lines)
    assert client.get("/api/chat/history", params={"conversation_id": id}).status_code == 404
    assert id not in str(sessions(client))


@pytest.mark.parametrize("deleted", ["conversation", "turn"])
def test_what_is_deleted_while_it_is_answered_is_answered_no_further(
    client: httpx.Client, model: ScriptedChat, deleted: str
) -> None:
    model.reply = Scripted(pieces=["first ", "and never this"], gate=threading.Event())
    before = model.disconnected
    with client.stream("POST", "/api/chat", json={"q": "Talk"}) as answer:
        lines = answer.iter_lines()
        metadata = json.loads(next(lines))["data"]
        assert any('"first "' in line for line in lines)
        named = {"conversation_id": metadata["conversationId"]}
        if deleted == "conversation":
            assert client.delete("/api/chat/history", params=named).is_success
        else:
            named["turn_id"] = metadata["turnId"]
            assert client.request("DELETE", "/api/chat/conversation/message", json=named).is_success
        assert any("was deleted" in line for line in lines)
    eventually(lambda: model.disconnected > before)


def test_deleting_one_conversation_or_turn_stops_no_other(client: httpx.Client, model: ScriptedChat) -> None:
    first = ask(client, "One")
    other = ask(client, "Another")["conversationId"]
    gate = threading.Event()
    model.reply = Scripted(pieces=["first ", "and last"], gate=gate)
    body = {"q": "Talk", "conversation_id": first["conversationId"]}
    with client.stream("POST", "/api/chat", json=body) as answer:
        lines = answer.iter_lines()
        assert any('"first "' in line for line in lines)
        named = {"conversation_id": first["conversationId"], "turn_id": first["turnId"]}
        assert client.request("DELETE", "/api/chat/conversation/message", json=named).is_success
        assert client.delete("/api/chat/history", params={"conversation_id": other}).is_success
        gate.set()
        assert any('"and last"' in line for line in lines)


def test_a_key_of_another_request_is_422(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    assert client.post("/api/chat", json={"q": "One", "stream": False}, headers=headers).is_success
    assert_refused(client.post("/api/chat", json={"q": "Two", "stream": False}, headers=headers), 422)


# --- who asks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer kk-unknown"}, {"Authorization": "Basic eDp5"}]
)
def test_without_a_key_or_with_an_unknown_one_it_is_401(service: Service, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{service.url}/api/chat", json={"q": "Hi"}, headers=headers)
    assert_refused(answer, 401)
    assert answer.json()["detail"] == "Forbidden"


def test_a_key_that_only_reads_is_403(service: Service) -> None:
    secret = uuid4().hex
    service.worker.cells.create_key(secret, "reads", "default", ("read",))
    headers = {"Authorization": f"Bearer {secret}"}
    assert_refused(httpx.post(f"{service.url}/api/chat", json={"q": "Hi"}, headers=headers), 403)


def test_a_wrong_method_is_405(client: httpx.Client) -> None:
    assert_refused(client.get("/api/chat"), 405)
