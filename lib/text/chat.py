"""The chat template that comes with a tokenizer: how a question and its answer become the text of a conversation."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lib.errors import WeightsError
from lib.text.tokenizer_files import ROLES_FILE, SETTINGS, TEMPLATE, read_object, token_text

if TYPE_CHECKING:
    import jinja2

# What stands for a question and an answer while the texts around them are found.
QUESTION, ANSWER = "a question", "an answer that no template has"
# Templates may ask for today's date; a text must be the same tomorrow. It is the day that Llama 3's template falls back
# to.
TODAY = datetime(2024, 7, 26)


@dataclass(frozen=True)
class ChatStyle:
    """A prompt style by a template: the user asks, the assistant answers.

    template: a Jinja template, as in chat_template.jinja. specials: the tokenizer's special tokens by their roles
    ("bos_token"). Raises `WeightsError` if the template fails, or writes another text before an answer than the one
    that asks for it.
    """

    template: str
    specials: Mapping[str, str] = field(default_factory=dict)
    where: str = TEMPLATE  # in errors

    marked = True  # names of special tokens in its texts are special tokens

    def __post_init__(self) -> None:
        asked, whole = self._text(QUESTION), self._text(QUESTION, ANSWER)
        if not whole.startswith(asked) or ANSWER not in whole[len(asked) :]:
            raise WeightsError(
                f"the chat template in {self.where} writes another text before an answer than the one that asks for it:"
                " set prompt.style to alpaca or phi3"
            )

    @classmethod
    def read(cls, folder: Path) -> ChatStyle | None:
        """Reads the template of a tokenizer's folder; None if there is none."""
        file = folder / TEMPLATE
        if not file.is_file():
            return None
        settings = {**read_object(folder / ROLES_FILE), **read_object(folder / SETTINGS)}
        roles = {role: token_text(value) for role, value in settings.items() if role.endswith("_token")}
        specials = {role: text for role, text in roles.items() if text is not None}
        return cls(file.read_text(encoding="utf-8"), specials, f"{file}")

    @functools.cached_property
    def _around(self) -> tuple[str, str]:
        """The texts before and after the words of an answer."""
        before, _, after = self._text(QUESTION, ANSWER)[len(self._text(QUESTION)) :].partition(ANSWER)
        return before, after

    @property
    def before_response(self) -> str:
        """The text between the prompt and the words of an answer; most templates have none."""
        return self._around[0]

    @property
    def end(self) -> str:
        """The text that ends the assistant's turn."""
        return self._around[1].strip()

    def prompt(self, instruction: str, input: str = "") -> str:
        """Returns the conversation up to where the assistant writes. The user's message is the instruction and, after
        an empty line, the input; a blank input counts as none."""
        return self._text(f"{instruction}\n\n{input}" if input.strip() else instruction)

    def response(self, output: str) -> str:
        """Returns the text that a model should write after the prompt, before the end of its turn; white space around
        the output is left out."""
        return f"{self.before_response}{output.strip()}"

    def answer(self, generated: str) -> str:
        """Extracts the output from generated text, the inverse of `response`."""
        return generated.strip().removeprefix(self.before_response.strip()).strip()

    def _text(self, question: str, answer: str | None = None) -> str:
        messages = [{"role": "user", "content": question}]
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
        try:
            return _compiled(self.template).render(
                messages=messages, add_generation_prompt=answer is None, tools=None, documents=None, **self.specials
            )
        except Exception as error:  # a template is a program: whatever it raises
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(
                f"the chat template in {self.where} fails ({line}): set prompt.style to alpaca or phi3, or correct the"
                " template"
            ) from error


@functools.cache
def _compiled(template: str) -> jinja2.Template:
    """Returns a template with what transformers gives one, and no way out of its sandbox."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _generation()]
    )
    environment.filters["tojson"] = _as_json
    environment.globals |= {"raise_exception": _fail, "strftime_now": TODAY.strftime}
    return environment.from_string(template)


@functools.cache
def _generation() -> type[Any]:
    """Returns the extension that reads {% generation %}, which marks what the assistant writes, as the text in it."""
    from jinja2 import nodes
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - jinja's own declaration

        def parse(self, parser: Any) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return body

    return Generation


def _as_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _fail(message: str) -> NoReturn:
    raise ValueError(message)
