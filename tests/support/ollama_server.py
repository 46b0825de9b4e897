"""Real HTTP servers on 127.0.0.1 that speak a judge's protocols: Ollama's streamed chat, and OpenAI's.

    with OllamaServer(lambda chat: "85") as server:
        ...
        assert server.chats[0].options == {"seed": 123, "temperature": 0, "num_ctx": 2048}

What the model says is a function of the chat: a text (streamed word by word where the protocol streams), a `Speech`
that ends badly, or any `Reply` of `http_server` instead. The function runs in the request's own thread, so it may wait
for other requests; how many were in it at once is counted.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from tests.support.http_server import HttpServer, Reply


@dataclass(frozen=True)
class Chat:
    """One request."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.body.get("options", {}))

    @property
    def contents(self) -> list[str]:
        """What was said, by turns."""
        return [str(message["content"]) for message in self.body["messages"]]


@dataclass(frozen=True)
class Speech:
    """Words, streamed; then the last line as it should be, one that says `error`, no such line, or a cut."""

    words: Iterable[str]
    ending: Literal["done", "error", "missing", "cut"] = "done"
    prompt_tokens: int = 26


Speak = Callable[[Chat], "str | Speech | Reply"]


class ChatServer(HttpServer):
    """What both protocols share. `chats` are the requests in the order in which they came."""

    def __init__(self, speak: Speak) -> None:
        super().__init__()
        self.chats: list[Chat] = []
        self.most_at_once = 0
        self._at_once = 0
        self._speak = speak
        self._server.RequestHandlerClass = _handler_for(self, self._server.RequestHandlerClass)

    def answer(self, chat: Chat) -> Speech | Reply:
        """Note the request, and let the model speak. Left before any byte of the answer is sent, so that a client
        that waits for its answers is never counted with more requests than it has under way."""
        with self._lock:
            self.chats.append(chat)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            spoken = self.refusal(chat) or self._speak(chat)
        finally:
            with self._lock:
                self._at_once -= 1
        return self.worded(spoken) if isinstance(spoken, str) else spoken

    def refusal(self, chat: Chat) -> Reply | None:
        """What the server itself says before its model does."""
        raise NotImplementedError

    def worded(self, text: str) -> Speech | Reply:
        """A text as the protocol has it."""
        raise NotImplementedError


class OllamaServer(ChatServer):
    """Answers POST /api/chat with lines of JSON, each a chunk of its own."""

    def __init__(self, speak: Speak, models: tuple[str, ...] = ("llama3",)) -> None:
        super().__init__(speak)
        self._models = models

    def refusal(self, chat: Chat) -> Reply | None:
        if chat.path != "/api/chat":
            return Reply(b"404 page not found", status=404)
        if chat.model not in self._models:
            return said({"error": f"model '{chat.model}' not found"}, status=404)
        return None

    def worded(self, text: str) -> Speech:
        return Speech(re.findall(r"\s*\S+", text))


@dataclass(frozen=True)
class Account:
    """Whom an OpenAI server lets in, and to what."""

    key: str = ""  # empty: everyone
    models: tuple[str, ...] = ("gpt",)


class OpenAIServer(ChatServer):
    """Answers POST /v1/chat/completions with one JSON object."""

    def __init__(self, speak: Speak, account: Account | None = None) -> None:
        super().__init__(speak)
        self._account = account or Account()

    @property
    def address(self) -> str:
        return self.url("/v1")

    def refusal(self, chat: Chat) -> Reply | None:
        given = chat.headers.get("authorization", "").removeprefix("Bearer ")
        if chat.path != "/v1/chat/completions":
            return Reply(b"no such path", status=404)
        if self._account.key and given != self._account.key:
            return openai_error(401, f"Incorrect API key provided: {given}", "invalid_api_key")
        if chat.model not in self._account.models:
            return openai_error(404, f"The model `{chat.model}` does not exist", "model_not_found")
        return None

    def worded(self, text: str) -> Reply:
        return said({"object": "chat.completion", "choices": [{"index": 0, "message": {"content": text}}]})


def said(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """JSON as an answer."""
    return Reply(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})


def openai_error(status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> Reply:
    """An error as OpenAI words it."""
    return said({"error": {"message": message, "code": code}}, status, headers)


def _handler_for(server: ChatServer, plain: Any) -> type[BaseHTTPRequestHandler]:
    class Handler(plain):  # type: ignore[misc]
        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(Chat(self.path, headers, body))
            if isinstance(answer, Speech):
                self._stream(answer, body["model"])
            elif answer.hang:
                server.wait_until_closed()
                self.close_connection = True
            else:
                self._send(answer, answer.status, answer.body, {})

        def _stream(self, speech: Speech, model: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for word in speech.words:
                self._line(model, {"message": {"role": "assistant", "content": word}, "done": False})
            if speech.ending == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if speech.ending == "error":
                self._chunk({"error": "llama runner process has terminated"})
            elif speech.ending == "done":
                counts = {"prompt_eval_count": speech.prompt_tokens, "eval_count": 2, "total_duration": 5_000_000}
                message = {"role": "assistant", "content": ""}
                self._line(model, {"message": message, "done_reason": "stop", "done": True, **counts})
            self.wfile.write(b"0\r\n\r\n")

        def _line(self, model: str, part: dict[str, Any]) -> None:
            self._chunk({"model": model, "created_at": "2024-05-01T12:00:00.000000Z", **part})

        def _chunk(self, part: dict[str, Any]) -> None:
            line = json.dumps(part).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    return Handler


@dataclass
class Meeting:
    """A model that answers only when so many requests are with it at once."""

    size: int
    text: str = "50"
    _barrier: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self._barrier = threading.Barrier(self.size)

    def __call__(self, chat: Chat) -> str:
        self._barrier.wait(timeout=60)
        return self.text
