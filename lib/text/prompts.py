"""Prompt styles: how an instruction, its input and its response become one text, and back. A new style is one entry of
`STYLES`; a model keeps the style that it was trained with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from lib.errors import RecipeError
from lib.text.chat import ChatStyle
from lib.text.turns import SYSTEM, Part, Turn, joined

ALONE = (
    "the published prompt styles have no words for several turns: each question with its answer is written as an entry"
    " of its own, one after the other, and the words of a system before the first; weights whose tokenizer has a chat"
    " template (prompt.style chat) have words for them"
)


class PromptStyle(Protocol):
    """How an instruction, its input and its response become one text, and back.

    marked: whether it writes itself what the family expects before a text. end: the text that ends a response (""
    means the token that ends any text).
    """

    @property
    def marked(self) -> bool: ...
    @property
    def end(self) -> str: ...

    def texts(
        self, instruction: str, input: str = "", earlier: Sequence[Turn] = (), output: str | None = None
    ) -> list[list[Part]]:
        """Returns the texts of an entry, each with an answer at its end, in parts of which those to be learnt are
        marked.

        earlier: the turns before the question (see `why_not_earlier`). output: None for a prompt, whose last text ends
        where the answer is to be written.
        """
        ...

    def remark(self, roles: Collection[str]) -> str:
        """Says in one sentence how earlier turns by these roles are written, if the style has no words for them."""
        ...

    def prompt(self, instruction: str, input: str = "", earlier: Sequence[Turn] = ()) -> str: ...
    def answer(self, generated: str) -> str: ...


@dataclass(frozen=True)
class Style:
    """The texts before the instruction, before the input (if any) and before the response, in this order.

    `before_response` belongs to the response: in the published procedure the prompt ends before it, and the model
    writes it. There are no published words for several turns: each question with its answer is written as an entry of
    its own, one after the other, and the words of a system stand before the first.
    """

    before_instruction: str
    before_input: str
    before_response: str

    marked = False
    end = ""

    def texts(
        self, instruction: str, input: str = "", earlier: Sequence[Turn] = (), output: str | None = None
    ) -> list[list[Part]]:
        """Returns a text for each question with its answer: see `PromptStyle`."""
        system = f"{earlier[0].content}\n\n" if earlier and earlier[0].role == SYSTEM else ""
        said = [turn.content for turn in earlier if turn.role != SYSTEM]
        prompts = [*map(self._asked, said[::2]), self._asked(instruction, input)]
        prompts[0] = f"{system}{prompts[0]}"
        answers = [[Part(self.response(each), answer=True)] for each in said[1::2]]
        answers.append([] if output is None else [Part(self.response(output), answer=True)])
        return [[Part(prompt), *answer] for prompt, answer in zip(prompts, answers, strict=True)]

    def prompt(self, instruction: str, input: str = "", earlier: Sequence[Turn] = ()) -> str:
        """Returns the prompt, which ends where the response begins; a blank input counts as none."""
        return "\n\n".join(map(joined, self.texts(instruction, input, earlier)))

    def remark(self, roles: Collection[str]) -> str:
        """Says how several turns are written, where there are any."""
        return ALONE if roles else ""

    def _asked(self, instruction: str, input: str = "") -> str:
        given = f"{self.before_input}{input}" if input.strip() else ""
        return f"{self.before_instruction}{instruction}{given}"

    def response(self, output: str) -> str:
        """Returns the text that a model should write after the prompt."""
        return f"{self.before_response}{output}"

    def answer(self, generated: str) -> str:
        """Extracts the output from generated text, the inverse of `response`. Removes white space at both ends and one
        leading `before_response`, which may be missing."""
        return generated.strip().removeprefix(self.before_response.strip()).strip()


STYLES: dict[str, Style] = {
    # Taori et al. 2023, "Stanford Alpaca: An Instruction-following LLaMA model", as in chapter 7 of "Build a Large
    # Language Model (From Scratch)": the first sentence is the same with and without input.
    "alpaca": Style(
        before_instruction="Below is an instruction that describes a task. Write a response that appropriately"
        " completes the request.\n\n### Instruction:\n",
        before_input="\n\n### Input:\n",
        before_response="\n\n### Response:\n",
    ),
    # Abdin et al. 2024, "Phi-3 Technical Report", as in solution 7.1 of that book: a colon before the response, and no
    # <|end|> tokens. In GPT-2's encoding these marks are ordinary text, five tokens or more each.
    "phi3": Style(before_instruction="<|user|>\n", before_input="\n", before_response="\n<|assistant|>:\n"),
}

AUTO, CHAT = "auto", "chat"  # by the tokenizer's chat template; where it has none, `auto` is the first of `STYLES`

if TYPE_CHECKING:
    StyleName = str
else:
    StyleName = Literal[AUTO, *STYLES, CHAT]  # the names, as a recipe's choices


def chosen_style(name: str, tokenizer: Path) -> PromptStyle:
    """Returns the style that a recipe's `prompt.style` means with the tokenizer in this folder. Raises `RecipeError`
    for `chat` without a chat template, and `WeightsError` if the template fails."""
    chat = ChatStyle.read(tokenizer) if name in (AUTO, CHAT) else None
    if name == CHAT and chat is None:
        raise RecipeError(
            "prompt.style is 'chat', and the tokenizer of model.weights has no chat template: choose"
            f" {' or '.join(map(repr, STYLES))}, or weights that were made for conversations"
        )
    return chat or named_style(next(iter(STYLES)) if name == AUTO else name)


def named_style(name: str) -> Style:
    """Returns the style called `name`; raises `RecipeError` if there is none."""
    if name not in STYLES:
        raise RecipeError(f"prompt.style {name!r} is not known: choose {' or '.join(map(repr, STYLES))}")
    return STYLES[name]
