"""The chat template that comes with a tokenizer: how a question and its answer become the text of a conversation."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from lib.errors import WeightsError
from lib.text.tokenizer_files import ROLES_FILE, SETTINGS, TEMPLATE, read_object, token_text
from lib.text.turns import ASSISTANT, SYSTEM, USER, Part, Turn, joined

if TYPE_CHECKING:
    import jinja2

# Templates may ask for today's date; a text must be the same tomorrow. It is the day that Llama 3's template falls back
# to.
TODAY = datetime(2024, 7, 26)
SPACE = "\u2003"  # white space that no template has
OTHERWISE = "set prompt.style to alpaca or phi3"


class _Slot(NamedTuple):
    """Where a template writes the words of a turn: at `begin` of what it writes itself.

    before, after: the white space that it takes away there ("": none; None: any).
    """

    turn: int
    begin: int
    before: str | None
    after: str | None

    def trim(self, content: str) -> str:
        return content.lstrip(self.before).rstrip(self.after)


class _Form(NamedTuple):
    """What a template itself writes of a conversation, and where the words go, in this order."""

    text: str
    slots: tuple[_Slot, ...]


@dataclass(frozen=True)
class ChatStyle:
    """A prompt style by a template: the user asks, the assistant answers.

    The template never sees the words of a conversation: it is asked where those of each turn stand, and they are put
    there. So no words can change what it writes.

    template: a Jinja template, as in chat_template.jinja. specials: the tokenizer's special tokens by their roles
    ("bos_token"). Raises `WeightsError` if the template fails, or writes another text before an answer than the one
    that asks for it.
    """

    template: str
    specials: Mapping[str, str] = field(default_factory=dict)
    where: str = TEMPLATE  # in errors

    marked = True  # the template itself writes what stands before a text

    def __post_init__(self) -> None:
        self._around((USER,))

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

    @property
    def before_response(self) -> str:
        """The text between the prompt and the words of an answer; most templates have none."""
        return self._around((USER,))[0]

    @property
    def end(self) -> str:
        """The text that ends the assistant's turn."""
        return self._around((USER,))[1].strip()

    def texts(
        self, instruction: str, input: str = "", earlier: Sequence[Turn] = (), output: str | None = None
    ) -> list[list[Part]]:
        """Returns the conversation as one text of parts: see `PromptStyle`.

        The user's message is the instruction and, after an empty line, the input; a blank input counts as none. Where
        the template has no place for a system's words, they stand before the user's first.
        """
        question = f"{instruction}\n\n{input}" if input.strip() else instruction
        turns = [*earlier, Turn(USER, question)]
        if turns[0].role == SYSTEM and not self._takes_a_system:
            system, first, *others = turns
            turns = [Turn(USER, f"{system.content}\n\n{first.content}"), *others]
        roles = tuple(turn.role for turn in turns)
        asked, slots = self._form(roles, asking=True)
        parts: list[Part] = []
        done = 0
        for slot in slots:
            turn = turns[slot.turn]
            says = turn.role == ASSISTANT
            begin = self._answer_begins(roles[: slot.turn], asked, slot.begin) if says else slot.begin
            words = turn.content.strip() if says else slot.trim(turn.content)
            parts.append(Part(asked[done:begin], marked=True))
            parts.append(Part(asked[begin : slot.begin], marked=True, answer=True))
            parts.append(Part(words, answer=says))
            done = slot.begin
        parts.append(Part(asked[done:], marked=True))
        if output is not None:
            before, _ = self._around(roles)
            parts += [Part(before, marked=True, answer=True), Part(output.strip(), answer=True)]
        return [[part for part in parts if part.text]]

    def prompt(self, instruction: str, input: str = "", earlier: Sequence[Turn] = ()) -> str:
        """Returns the conversation up to where the assistant writes."""
        return joined(self.texts(instruction, input, earlier)[0])

    def response(self, output: str) -> str:
        """Returns the text that a model should write after the prompt, before the end of its turn; white space around
        the output is left out."""
        return f"{self.before_response}{output.strip()}"

    def answer(self, generated: str) -> str:
        """Extracts the output from generated text, the inverse of `response`."""
        return generated.strip().removeprefix(self.before_response.strip()).strip()

    def remark(self, roles: Collection[str]) -> str:
        """Says where a system's words stand, where there are any and the template has no place for them."""
        if SYSTEM not in roles or self._takes_a_system:
            return ""
        return "the chat template has no place for the words of a system: they stand before the user's first"

    @functools.cached_property
    def _takes_a_system(self) -> bool:
        """Whether the template writes the words of a system, and does not refuse or lose them."""
        try:
            self._form((SYSTEM, USER), asking=True)
        except WeightsError:
            return False
        return True

    def _around(self, roles: tuple[str, ...]) -> tuple[str, str]:
        """Returns the texts before and after the words of an answer to these turns."""
        asked, whole = self._form(roles, asking=True).text, self._form((*roles, ASSISTANT), asking=False)
        last = whole.slots[-1]
        if last.turn != len(roles) or not whole.text[: last.begin].startswith(asked):
            raise WeightsError(
                f"the chat template in {self.where} writes another text before an answer than the one that asks for it:"
                f" {OTHERWISE}"
            )
        return whole.text[len(asked) : last.begin], whole.text[last.begin :]

    def _answer_begins(self, roles: tuple[str, ...], text: str, words: int) -> int:
        """Returns where the answer to these turns begins in a text that goes on after it: where the template would ask
        for it, or else with its own `words`."""
        asked = self._form(roles, asking=True).text
        return len(asked) if text[:words].startswith(asked) else words

    @functools.cached_property
    def _forms(self) -> dict[tuple[tuple[str, ...], bool], _Form]:
        """The forms that were found."""
        return {}

    def _form(self, roles: tuple[str, ...], *, asking: bool) -> _Form:
        """Returns the form of turns by these roles. asking: the text ends where the assistant is to write. Raises
        WeightsError if the template fails, or loses or repeats the words of a turn."""
        if (roles, asking) not in self._forms:
            self._forms[roles, asking] = self._found(roles, asking=asking)
        return self._forms[roles, asking]

    def _found(self, roles: tuple[str, ...], *, asking: bool) -> _Form:
        names = [f"\u2402{turn}\u2403" for turn in range(len(roles))]
        bare = self._written(roles, names, asking=asking)
        padded = self._written(roles, [f"\n{SPACE}{name}{SPACE}\n" for name in names], asking=asking)
        if any(text.count(name) != 1 for name in names for text in (bare, padded)):
            raise WeightsError(f"the chat template in {self.where} loses or repeats the words of a turn: {OTHERWISE}")
        text, slots = bare, []
        for turn in sorted(range(len(names)), key=lambda turn: bare.index(names[turn])):
            begin = text.index(names[turn])
            text = text.replace(names[turn], "")
            before, _, after = bare.partition(names[turn])
            padded_before, _, padded_after = padded.partition(names[turn])
            slots.append(_Slot(turn, begin, _taken(padded_before, before), _taken(padded_after[::-1], after[::-1])))
        return _Form(text, tuple(slots))

    def _written(self, roles: Sequence[str], contents: Sequence[str], *, asking: bool) -> str:
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        try:
            return _compiled(self.template).render(
                messages=messages, add_generation_prompt=asking, tools=None, documents=None, **self.specials
            )
        except Exception as error:  # a template is a program: whatever it raises
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(
                f"the chat template in {self.where} fails ({line}): {OTHERWISE}, or correct the template"
            ) from error


def _taken(padded: str, bare: str) -> str | None:
    """Returns the white space that a template takes away at the beginning of words: "" for none, a line's end, or None
    for any. `padded` ends where words begin that had a line's end and `SPACE` before them, `bare` where others do."""
    if not padded.endswith(SPACE):
        return None
    lines = [len(text) - len(text.rstrip("\n")) for text in (padded.removesuffix(SPACE), bare)]
    return "" if lines[0] > lines[1] else "\n"


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
