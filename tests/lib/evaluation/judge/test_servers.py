"""One question's way to a judge's server and back, over real connections."""

from __future__ import annotations

import asyncio
import itertools
import socket
from datetime import UTC, datetime
from typing import Any

import pytest

from lib.evaluation.judge.protocol import AskError, JudgeServer, Messages
from lib.evaluation.judge.servers import (
    KEY_VARIABLE,
    PUBLISHED_OPTIONS,
    REPLY_LIMIT,
    OllamaServer,
    OpenAIServer,
    retry_after,
)
from tests.support.http_server import HttpServer, Reply
from tests.support.ollama_server import Account, Chat, Speech, openai_error, said
from tests.support.ollama_server import OllamaServer as FakeOllama
from tests.support.ollama_server import OpenAIServer as FakeOpenAI

HELLO: Messages = [{"role": "user", "content": "Hello, judge"}]
TALK: Messages = [*HELLO, {"role": "assistant", "content": "Well..."}, {"role": "user", "content": "A number!"}]
KEY = "sk-of-this-test"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, "OLLAMA_HOST", "OLLAMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def ask(server: JudgeServer, messages: Messages = HELLO) -> str:
    async def once() -> str:
        async with server.open() as asked:
            return await asked(messages)

    return asyncio.run(once())


def refused(server: JudgeServer, messages: Messages = HELLO) -> AskError:
    with pytest.raises(AskError) as caught:
        ask(server, messages)
    return caught.value


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- Ollama -----------------------------------------------------------------------------------------------------


def test_ollama_is_asked_as_published() -> None:
    with FakeOllama(lambda chat: "85") as server:
        assert ask(OllamaServer(address=server.url("")), TALK) == "85"
    (chat,) = server.chats
    assert chat.path == "/api/chat"
    assert chat.body["messages"] == TALK
    assert chat.body["stream"] is True
    assert (chat.model, chat.options) == ("llama3", {"seed": 123, "temperature": 0, "num_ctx": 2048})


def test_a_streamed_reply_is_put_together_from_its_lines() -> None:
    with FakeOllama(lambda chat: Speech(["", "The", " score\n", "is 8", "5", "."])) as server:
        assert ask(OllamaServer(address=server.url(""))) == "The score\nis 85."


def test_ollama_is_found_through_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOllama(lambda chat: "85") as server:
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
        assert ask(OllamaServer()) == "85"


@pytest.mark.parametrize(
    ("spoken", "words", "temporary", "everyone"),
    [
        pytest.param(said({"error": "busy"}, 503), "answered 503 (busy)", True, False, id="busy"),
        pytest.param(Reply(b"", 500), "answered 500:", True, False, id="500 without words"),
        pytest.param(said({"error": "slow down"}, 429), "answered 429 (slow down)", True, False, id="429"),
        pytest.param(said({"error": "no chat"}, 400), "answered 400 (no chat)", False, False, id="400"),
        pytest.param(said({"error": "unauthorized"}, 401), "refuses access (401)", False, True, id="401"),
        pytest.param(Speech(["8"], "error"), "broke off its reply (llama runner", True, False, id="error line"),
        pytest.param(Speech(["8"], "cut"), "cut the connection", True, False, id="cut"),
        pytest.param(Speech(["8"], "missing"), "cut the connection", True, False, id="no last line"),
        pytest.param(Reply(b"<html>hello</html>"), "does not speak the protocol", True, True, id="a page"),
        pytest.param(Reply(b"[1, 2]\n"), "does not speak the protocol", True, True, id="other JSON"),
        pytest.param(Reply(b"[]", 500), "does not speak the protocol", True, True, id="other JSON as an error"),
    ],
)
def test_what_ollama_does_instead_of_answering(
    spoken: Speech | Reply, words: str, temporary: bool, everyone: bool
) -> None:
    with FakeOllama(lambda chat: spoken) as server:
        error = refused(OllamaServer(address=server.url("")))
    assert words in str(error)
    assert server.url("") in str(error)
    assert (error.temporary, error.everyone) == (temporary, everyone)


def test_a_model_that_ollama_does_not_have_is_named_with_the_way_to_get_it() -> None:
    with FakeOllama(lambda chat: "85") as server:
        error = refused(OllamaServer("llama3:70b", address=server.url("")))
    assert str(error) == (
        f"The Ollama server at {server.url('')} has no model 'llama3:70b':"
        " run `ollama pull llama3:70b` there, or name another model"
    )
    assert (error.temporary, error.everyone) == (False, True)


def test_without_a_server_the_sentence_says_how_to_start_one() -> None:
    address = f"http://127.0.0.1:{closed_port()}"
    error = refused(OllamaServer(address=address))
    assert f"No judge's server answers at {address} (" in str(error)
    assert "`ollama serve`, then `ollama pull llama3`" in str(error)
    assert "or run the judge step later" in str(error)
    assert (error.temporary, error.everyone) == (True, True)


@pytest.mark.parametrize("spoken", [Reply(hang=True), Reply(b'{"message": {}', stall_after=5)])
def test_a_server_that_says_nothing_is_not_waited_for_for_ever(spoken: Reply) -> None:
    with FakeOllama(lambda chat: spoken) as server:
        error = refused(OllamaServer(address=server.url(""), timeout=0.5))
        assert "sent nothing for 0.5 s" in str(error)
        assert (error.temporary, error.everyone) == (True, True)


def test_a_reply_without_end_is_hung_up_on() -> None:
    with FakeOllama(lambda chat: Speech(itertools.repeat("and so on "))) as server:
        assert ask(OllamaServer(address=server.url(""))) == ("and so on " * REPLY_LIMIT)[:REPLY_LIMIT]


@pytest.mark.parametrize("address", ["http://[::1", "127.0.0.1:port", "http://xn--a"])
def test_what_is_no_address_is_said_so(address: str) -> None:
    error = refused(OllamaServer(address=address))
    assert "is no address of a server" in str(error)
    assert (error.temporary, error.everyone) == (False, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"temprature": 0}, "unknown: temprature"), ({"seed": "one"}, "seed: Input should be a valid integer")],
)
def test_options_that_ollama_would_not_get_are_refused(options: dict[str, Any], words: str) -> None:
    error = refused(OllamaServer(options=options))
    assert words in str(error)
    assert error.everyone


@pytest.mark.parametrize("read", [2048, 1026, 1027])  # old servers count to the limit, newer ones to half of it
def test_a_question_that_ollama_shortened_has_no_reply(read: int) -> None:
    question: Messages = [{"role": "user", "content": "word " * 3000}]
    with FakeOllama(lambda chat: Speech(["85"], prompt_tokens=read)) as server:
        error = refused(OllamaServer(address=server.url("")), question)
    assert f"read only {read:,} tokens of a question of 15,000 bytes: raise its option `num_ctx`" in str(error)
    assert (error.temporary, error.everyone) == (False, False)


@pytest.mark.parametrize(("words", "read"), [(600, 610), (400, 1026), (200, 2048)])
def test_a_question_that_fits_is_not_taken_for_a_shortened_one(words: int, read: int) -> None:
    question: Messages = [{"role": "user", "content": "word " * words}]
    with FakeOllama(lambda chat: Speech(["85"], prompt_tokens=read)) as server:
        assert ask(OllamaServer(address=server.url("")), question) == "85"


def test_a_password_in_an_address_is_not_shown() -> None:
    port = closed_port()
    address = f"http://user:secret@127.0.0.1:{port}"
    for server in (OllamaServer(address=address), OpenAIServer("gpt", address=f"{address}/v1")):
        error = refused(server)
        assert f"http://127.0.0.1:{port}" in str(error)
        assert "secret" not in str(error)


# -- OpenAI -----------------------------------------------------------------------------------------------------


def test_openai_is_asked_in_its_protocol_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY}\n")
    with FakeOpenAI(lambda chat: "85", Account(key=KEY)) as server:
        assert ask(OpenAIServer("gpt", address=server.address), TALK) == "85"
    (chat,) = server.chats
    assert chat.path == "/v1/chat/completions"
    assert chat.headers["authorization"] == f"Bearer {KEY}"
    assert chat.body == {"model": "gpt", "messages": TALK, "seed": 123, "temperature": 0}


def test_without_a_key_none_is_sent() -> None:
    with FakeOpenAI(lambda chat: "85") as server:
        assert ask(OpenAIServer("gpt", address=f"{server.address}/")) == "85"
    assert "authorization" not in server.chats[0].headers


@pytest.mark.parametrize(
    ("spoken", "words", "temporary", "everyone", "wait"),
    [
        (openai_error(500, "my bad"), "answered 500 (my bad)", True, False, 0),
        (Reply(b"<h1>Bad\n gateway</h1>", 502), "answered 502 (<h1>Bad gateway</h1>)", True, False, 0),
        (openai_error(429, "slow", headers={"Retry-After": "7"}), "answered 429 (slow)", True, False, 7),
        (openai_error(429, "no", headers={"Retry-After": "3600"}), "wants no questions for 3,600 s", False, True, 0),
        (openai_error(429, "Pay", "insufficient_quota"), "nothing left to spend (Pay): top it up", False, True, 0),
        (openai_error(400, "no temperature"), "answered 400 (no temperature): check", False, False, 0),
        (Reply(b"", 307, {"Location": "http://127.0.0.1:9/"}), "answered 307: check", False, False, 0),
        (Reply(b"not JSON"), "does not speak the protocol", True, True, 0),
        (said({"choices": []}), "does not speak the protocol", True, True, 0),
        (said([1]), "does not speak the protocol", True, True, 0),
        (Reply(b'{"choices": [', cut_after=5), "cut the connection", True, False, 0),
    ],
)
def test_what_openai_servers_do_instead_of_answering(
    spoken: Reply, words: str, temporary: bool, everyone: bool, wait: float
) -> None:
    with FakeOpenAI(lambda chat: spoken) as server:
        error = refused(OpenAIServer("gpt", address=server.address))
    assert words in str(error)
    assert server.address in str(error)
    assert (error.temporary, error.everyone, error.wait) == (temporary, everyone, wait)


def test_a_key_is_shown_by_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with FakeOpenAI(lambda chat: openai_error(500, f"your key {KEY}"), Account(key="sk-another")) as server:
        error = refused(OpenAIServer("gpt", address=server.address))
        assert str(error) == (
            f"The judge's server at {server.address} refuses the key in OPENAI_API_KEY (401):"
            " set OPENAI_API_KEY to a key of that server"
        )
    with FakeOpenAI(lambda chat: openai_error(500, f"your key {KEY}")) as server:
        error = refused(OpenAIServer("gpt", address=server.address))
        assert "your key ***" in str(error)
        assert KEY not in str(error)
    assert KEY not in repr(OpenAIServer("gpt"))


def test_a_missing_key_and_a_missing_model_are_told_apart() -> None:
    with FakeOpenAI(lambda chat: "85", Account(key=KEY)) as server:
        assert "refuses access (401): set OPENAI_API_KEY" in str(refused(OpenAIServer("gpt", address=server.address)))
    with FakeOpenAI(lambda chat: "85") as server:
        error = refused(OpenAIServer("gpt-9", address=server.address))
        assert "has no model 'gpt-9', or speaks another protocol (The model `gpt-9` does not exist)" in str(error)
        assert (error.temporary, error.everyone) == (False, True)


def test_a_key_that_cannot_be_sent_is_refused_unshown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-schlüssel")
    error = refused(OpenAIServer("gpt"))
    assert "OPENAI_API_KEY has characters that no key has" in str(error)
    assert "sk-" not in str(error)


@pytest.mark.parametrize("content", [None, ["85"]])
def test_a_reply_without_text_is_an_empty_one(content: object) -> None:
    reply = said({"choices": [{"message": {"content": content}}]})
    with FakeOpenAI(lambda chat: reply) as server:
        assert ask(OpenAIServer("gpt", address=server.address)) == ""


def test_half_of_a_surrogate_pair_does_not_get_further() -> None:
    reply = Reply(b'{"choices": [{"message": {"content": "8\\ud83d5"}}]}')
    with FakeOpenAI(lambda chat: reply) as server:
        assert ask(OpenAIServer("gpt", address=server.address)) == "8?5"


def test_nobody_and_silence_at_an_openai_address() -> None:
    error = refused(OpenAIServer("gpt", address=f"http://127.0.0.1:{closed_port()}/v1"))
    assert "No judge's server answers at http://127.0.0.1:" in str(error)
    with HttpServer() as server:
        server.serve("/v1/chat/completions", Reply(hang=True))
        error = refused(OpenAIServer("gpt", address=server.url("/v1"), timeout=0.5))
        assert "sent nothing for 0.5 s" in str(error)
    for address in ("localhost/v1", "http://xn--a/v1"):
        assert "is no address of a server" in str(refused(OpenAIServer("gpt", address=address)))


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("7") == 7
    assert retry_after("Sat, 01 Mar 2025 12:00:30 GMT", now) == 30
    assert retry_after("Sat, 01 Mar 2025 11:00:00 GMT", now) == 0
    assert [retry_after(text) for text in ("", "soon", "-5")] == [0, 0, 0]


def test_several_questions_at_once_share_the_connections() -> None:
    async def twice(server: JudgeServer) -> list[str]:
        async with server.open() as asked:
            return list(await asyncio.gather(asked(HELLO), asked(TALK)))

    def length(chat: Chat) -> str:
        return str(len(chat.contents))

    with FakeOllama(length) as server:
        assert asyncio.run(twice(OllamaServer(address=server.url("")))) == ["1", "3"]
    assert OllamaServer().options == PUBLISHED_OPTIONS
