"""Judge servers: those that speak Ollama's protocol, and those that speak OpenAI's chat protocol.

OpenAI's protocol is one POST, sent with httpx: the `openai` package weighs 30 MB with its dependencies, takes a second
to import, and retries on its own. Ollama's client is imported where it is used: every other judge works without it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import httpx
from pydantic import ValidationError

from lib.data.source.transfer import MALFORMED, no_address
from lib.evaluation.judge.protocol import Ask, AskError, Messages
from lib.secrets import public, redacted, revealed, secret_named

if TYPE_CHECKING:
    import ollama

PUBLISHED_OPTIONS: Mapping[str, Any] = {"seed": 123, "temperature": 0, "num_ctx": 2048}
OPENAI_OPTIONS: Mapping[str, Any] = {"seed": 123, "temperature": 0}
OLLAMA_ADDRESS = "http://127.0.0.1:11434"
OPENAI_ADDRESS = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"

REPLY_LIMIT = 2_000  # characters read of a reply, which should be an integer
SAID_LIMIT = 200  # characters shown of a server's error message
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 300.0  # Ollama's own limit for loading a model (OLLAMA_LOAD_TIMEOUT); requests also queue there
LONGEST_WAIT = 120.0  # seconds; a server that asks for a longer wait is asked in another run
REFUSED_ACCESS = (401, 403)
NOT_FOUND = 404
TEMPORARY = (408, 409, 425, 429)  # and all from 500


@dataclass(frozen=True)
class OllamaServer:
    """An Ollama server, asked with the official client; the reply is streamed.

    address: as Ollama takes it; empty: the variable OLLAMA_HOST, or this machine's port 11434.
    options: those of the published procedure.
    timeout: seconds without any byte from the server.
    """

    model: str = "llama3"
    address: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: dict(PUBLISHED_OPTIONS))
    timeout: float = ANSWER_SECONDS
    api: ClassVar[str] = "ollama"

    @property
    def place(self) -> str:
        """The address as it may be shown."""
        return public(self._address)

    @property
    def _address(self) -> str:
        return self.address or os.environ.get("OLLAMA_HOST") or OLLAMA_ADDRESS

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Ask]:
        """See `JudgeServer`. Raises AskError if the address is invalid or the options are not Ollama's."""
        import ollama

        self._check_options()
        try:
            client = ollama.AsyncClient(revealed(self.address) or None, timeout=_timeout(self.timeout))
        except (ValueError, httpx.InvalidURL) as error:
            raise _no_address(self._address, error) from error
        async with client:
            yield partial(self._ask, client)

    def _check_options(self) -> None:
        """Refuses unknown options, which the client would silently drop."""
        import ollama

        problems = [f"unknown: {name}" for name in sorted(self.options.keys() - ollama.Options.model_fields.keys())]
        try:
            ollama.Options.model_validate(self.options)
        except ValidationError as error:
            problems += [f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
        if problems:
            what = f"The judge's options are not Ollama's ({'; '.join(problems)})"
            raise AskError(what, "correct the judge's options", everyone=True)

    async def _ask(self, client: ollama.AsyncClient, messages: Messages) -> str:
        import ollama

        try:
            return await self._read(client, messages)
        except ollama.ResponseError as error:
            raise self._refusal(error.status_code, _quotable(str(error.error))) from error
        except (httpx.HTTPError, *MALFORMED) as error:
            start = f"start Ollama there (`ollama serve`, then `ollama pull {self.model}`)"
            raise _unreached(self._address, error, self.timeout, start) from error
        except (ValueError, AttributeError) as error:  # raised by the client for lines outside the protocol
            raise _malformed(self.place) from error

    async def _read(self, client: ollama.AsyncClient, messages: Messages) -> str:
        """Returns the reply's text; closing the connection on an endless reply also stops the model."""
        stream = await client.chat(self.model, messages, stream=True, options=self.options)
        text = ""
        async with aclosing(cast("AsyncGenerator[ollama.ChatResponse]", stream)) as parts:
            async for part in parts:
                text += part.message.content or ""
                if part.done:
                    self._refuse_shortened(messages, part.prompt_eval_count)
                    return _presentable(text)
                if len(text) >= REPLY_LIMIT:
                    return _presentable(text)
        raise _cut(self.place)

    def _refuse_shortened(self, messages: Messages, read: int | None) -> None:
        """Refuses a reply to a shortened prompt: Ollama silently drops what exceeds `num_ctx` (ollama/ollama#17427).

        The only sign is the number of tokens read: all of `num_ctx`, or in newer versions half of it and a few (2 and 3
        were seen). A text of fewer bytes than `num_ctx` always fits: a token has at least one.
        """
        context = int(self.options.get("num_ctx") or 0)
        size = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
        if context and read and size > context and (read >= context or context // 2 <= read <= context // 2 + 4):
            raise AskError(
                f"The judge read only {read:,} tokens of a question of {size:,} bytes", "raise its option `num_ctx`"
            )

    def _refusal(self, status: int, said: str) -> AskError:
        if status == NOT_FOUND and "model" in said:
            pull = f"run `ollama pull {self.model}` there, or name another model"
            return AskError(f"The Ollama server at {self.place} has no model {self.model!r}", pull, everyone=True)
        if status in REFUSED_ACCESS:
            check = "check its address, and the variable OLLAMA_API_KEY if it needs a key"
            return AskError(f"The Ollama server at {self.place} refuses access ({status})", check, everyone=True)
        if status < 0:  # the client's status for an error in the middle of a reply
            return AskError(f"The Ollama server at {self.place} broke off its reply ({said})", temporary=True)
        return _refusal(self.place, status, said)


@dataclass(frozen=True)
class OpenAIServer:
    """Any server that speaks OpenAI's chat protocol: OpenAI's own, vLLM, llama.cpp, LM Studio and many more.

    address: what stands before `/chat/completions`.
    timeout: seconds without any byte from the server.
    key_variable: what the key is called in the environment, or where `lib.secrets.look_also` looks; without one none is
    sent. It is never shown, kept or logged.
    """

    model: str
    address: str = OPENAI_ADDRESS
    options: Mapping[str, Any] = field(default_factory=lambda: dict(OPENAI_OPTIONS))
    timeout: float = ANSWER_SECONDS
    key_variable: str = KEY_VARIABLE
    api: ClassVar[str] = "openai"

    @property
    def place(self) -> str:
        """The address as it may be shown."""
        return public(self.address)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Ask]:
        """See `JudgeServer`. Raises AskError if the address or the key is invalid."""
        key = (secret_named(self.key_variable) or "").strip()
        if not (key.isascii() and key.isprintable()):
            what = f"The key in {self.key_variable} has characters that no key has"
            raise AskError(what, "set it again", everyone=True)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            client = httpx.AsyncClient(base_url=revealed(self.address), headers=headers, timeout=_timeout(self.timeout))
        except (ValueError, httpx.InvalidURL) as error:
            raise _no_address(self.address, error) from error
        async with client:
            yield partial(self._ask, client, key)

    async def _ask(self, client: httpx.AsyncClient, key: str, messages: Messages) -> str:
        body = {"model": self.model, "messages": [dict(message) for message in messages], **self.options}
        try:
            # Not streamed: the cost is the same, and every server supports it. Redirects are not followed, because
            # the key is for this address.
            response = await client.post("chat/completions", json=body)
        except (httpx.HTTPError, *MALFORMED) as error:
            start = "start it, or check the judge's address"
            raise _unreached(self.address, error, self.timeout, start) from error
        if not response.is_success:
            raise self._refusal(response, key)
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise _malformed(self.place) from error
        return _presentable(content if isinstance(content, str) else "")  # null: the model declined

    def _refusal(self, response: httpx.Response, key: str) -> AskError:
        status = response.status_code
        if status in REFUSED_ACCESS:  # without the server's message, which may repeat the key
            variable = self.key_variable
            what = f"The judge's server at {self.place} refuses " + (f"the key in {variable}" if key else "access")
            return AskError(f"{what} ({status})", f"set {variable} to a key of that server", everyone=True)
        said = _own_words(response)
        said = said.replace(key, "***") if key else said
        if status == NOT_FOUND:
            what = f"The judge's server at {self.place} has no model {self.model!r}, or speaks another protocol"
            return AskError(f"{what} ({said})", "check the judge's model and address", everyone=True)
        if "insufficient_quota" in response.text:  # a 429 that waiting does not cure
            what = f"The account at {self.place} has nothing left to spend ({said})"
            return AskError(what, "top it up, then run the judge step again", everyone=True)
        return _refusal(self.place, status, said, wait=retry_after(response.headers.get("Retry-After", "")))


def retry_after(value: str, now: datetime | None = None) -> float:
    """Returns the seconds to wait by a Retry-After header, a number or a date (RFC 9110, 10.2.3); otherwise 0."""
    if value.strip().isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds())


def _refusal(place: str, status: int, said: str, *, wait: float = 0.0) -> AskError:
    what = f"The judge's server at {place} answered {status}" + (f" ({said})" if said else "")
    if wait > LONGEST_WAIT:
        return AskError(f"{what} and wants no questions for {wait:,.0f} s", everyone=True)
    if status in TEMPORARY or status >= 500:
        return AskError(what, temporary=True, wait=wait)
    return AskError(what, "check the judge's address, model and options")


def _unreached(address: str, error: Exception, timeout: float, start: str) -> AskError:
    """Translates an httpx error for the user."""
    place = public(address)
    if isinstance(error, MALFORMED):
        return _no_address(address, error)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        why = str(error) or f"nothing within {CONNECT_SECONDS:g} s"
        remedy = f"{start}, or run the judge step later"
        return AskError(f"No judge's server answers at {place} ({why})", remedy, temporary=True, everyone=True)
    if isinstance(error, httpx.TimeoutException):
        what = f"The judge's server at {place} sent nothing for {timeout:g} s"
        remedy = "give it more time, fewer questions at once or a smaller model, or run the judge step later"
        return AskError(what, remedy, temporary=True, everyone=True)
    return _cut(place)


def _no_address(address: str, error: Exception) -> AskError:
    what = f"{public(address)!r} is no address of a server ({no_address(error, address)})"
    return AskError(what, "correct the judge's address", everyone=True)


def _cut(place: str) -> AskError:
    return AskError(f"The judge's server at {place} cut the connection", temporary=True)


def _malformed(place: str) -> AskError:
    what = f"What answers at {place} does not speak the protocol of a judge's server"
    return AskError(what, "check the judge's address", temporary=True, everyone=True)


def _own_words(response: httpx.Response) -> str:
    """Returns an error's message in OpenAI's format, or its whole body."""
    try:
        said = response.json()["error"]["message"]
    except (ValueError, LookupError, TypeError):
        said = response.text
    return _quotable(str(said))


def _quotable(said: str) -> str:
    """Returns a server's words on one line, cut to SAID_LIMIT characters; without secrets, since after the cut nobody
    would know half of one."""
    return " ".join(redacted(said).split())[:SAID_LIMIT]


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def _presentable(text: str) -> str:
    """Cuts to REPLY_LIMIT characters and replaces lone surrogates, which JSON can carry and UTF-8 cannot."""
    return text[:REPLY_LIMIT].encode("utf-8", "replace").decode("utf-8")
