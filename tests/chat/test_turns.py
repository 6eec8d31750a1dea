"""A question and its answer: what the model is told, what the client is told, and what is kept."""

import threading

import httpx

from tests.chat.conftest import ask, history, learnt, streamed
from tests.chat.model import Scripted, ScriptedChat
from tests.conftest import Service, eventually


def test_an_answer_has_what_the_seed_and_what_khojs_server_sends(
    client: httpx.Client, model: ScriptedChat
) -> None:
    model.reply = "Four."
    answer = ask(client, "What is two and two?")
    assert answer["status"] == "ok"
    assert answer["response"] == "Four."
    assert answer.keys() == {
        "status", "response", "conversationId", "turnId", "references", "usage", "images", "files",
        "mermaidjsDiagram",
    }  # fmt: skip
    assert answer["usage"]["input_tokens"] == 100
    assert [(m["by"], m["message"]) for m in history(client, answer["conversationId"])] == [
        ("you", "What is two and two?"),
        ("khoj", "Four."),
    ]


def test_a_stream_tells_everything_in_order(client: httpx.Client, model: ScriptedChat) -> None:
    model.reply = Scripted(text="Four, of course.", thoughts=["adding"])
    told = streamed(client, "What is two and two?")
    types = [event["type"] for event in told]
    assert list(dict.fromkeys(types)) == [
        "metadata", "thought", "status", "references", "start_llm_response", "message", "end_llm_response",
        "usage", "end_response",
    ]  # fmt: skip
    assert "".join(event["data"] for event in told if event["type"] == "message") == "Four, of course."


def test_a_conversation_goes_on(client: httpx.Client, model: ScriptedChat) -> None:
    first = ask(client, "Name a colour")
    ask(client, "And another", conversation_id=first["conversationId"])
    said = [(m["role"], m["content"]) for m in model.asked[-1]["messages"][1:]]
    assert said == [("user", "Name a colour"), ("assistant", "Hello"), ("user", "And another")]
    assert len(history(client, first["conversationId"])) == 4


def test_what_was_said_in_one_conversation_is_known_in_another_until_it_is_deleted(
    service: Service, client: httpx.Client, stranger: httpx.Client, model: ScriptedChat
) -> None:
    ask(client, "My cat is called Zorblax")
    answer = ask(client, "What is my cat called?")
    assert "Zorblax" in str(model.asked[-1]["messages"])
    (used,) = [m for m in answer["references"]["memories"] if "Zorblax" in m["text"]]

    ask(stranger, "What is my cat called?")
    assert "Zorblax" not in str(model.asked[-1]["messages"])
    ask(client, "What is my cat called?", user_id="somebody else")
    assert "Zorblax" not in str(model.asked[-1]["messages"])

    learnt(client)
    assert client.delete(f"/v1/memories/{used['id']}").is_success
    ask(client, "What is my cat called?")
    assert "Zorblax" not in str(model.asked[-1]["messages"])


def test_the_first_words_arrive_before_the_model_has_finished(
    client: httpx.Client, model: ScriptedChat
) -> None:
    gate = threading.Event()
    model.reply = Scripted(pieces=["first ", "second"], gate=gate)
    with client.stream("POST", "/api/chat", json={"q": "Talk"}) as answer:
        lines = answer.iter_lines()
        for line in lines:
            if '"first "' in line:
                break
        gate.set()
        assert any('"second"' in line for line in lines)


def test_who_stops_listening_stops_the_answer_and_the_turn_is_kept(
    client: httpx.Client, model: ScriptedChat
) -> None:
    model.reply = Scripted(pieces=["as far as this", " and never further"], gate=threading.Event())
    with client.stream("POST", "/api/chat", json={"q": "Talk"}) as answer:
        for line in answer.iter_lines():
            if '"metadata"' in line:
                conversation = httpx.Response(200, text=line).json()["data"]["conversationId"]
            if '"as far as this"' in line:
                break
    eventually(lambda: len(history(client, conversation)) == 2)
    assert history(client, conversation)[1]["message"] == "as far as this"
    eventually(lambda: model.disconnected)


def test_a_model_that_dies_leaves_a_message_and_the_question(
    client: httpx.Client, model: ScriptedChat
) -> None:
    model.reply = Scripted(pieces=["half ", "an answer"], cut=True)
    told = streamed(client, "Talk")
    assert [event["type"] for event in told][-5:] == [
        "error", "message", "end_llm_response", "usage", "end_response",
    ]  # fmt: skip
    conversation = told[0]["data"]["conversationId"]
    question, answer = history(client, conversation)
    assert question["message"] == "Talk"
    assert answer["message"].startswith("half ")
    refused = client.post("/api/chat", json={"q": "Talk", "stream": False})
    assert refused.status_code == 503
    assert refused.json()["status"] == "error"
