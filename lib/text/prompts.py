"""Prompt styles: how an instruction, its input and its response become one text, and back. A new style is one entry of
`STYLES`; a model keeps the style that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from lib.errors import RecipeError
from lib.text.chat import ChatStyle


class PromptStyle(Protocol):
    """How an instruction, its input and its response become one text, and back.

    marked: whether names of special tokens in its texts are special tokens. end: the text that ends a response (""
    means the token that ends any text).
    """

    @property
    def marked(self) -> bool: ...
    @property
    def end(self) -> str: ...
    def prompt(self, instruction: str, input: str = "") -> str: ...
    def response(self, output: str) -> str: ...
    def answer(self, generated: str) -> str: ...


@dataclass(frozen=True)
class Style:
    """The texts before the instruction, before the input (if any) and before the response, in this order.

    `before_response` belongs to the response: in the published procedure the prompt ends before it, and the model
    writes it.
    """

    before_instruction: str
    before_input: str
    before_response: str

    marked = False
    end = ""

    def prompt(self, instruction: str, input: str = "") -> str:
        """Returns the prompt, which ends where the response begins; a blank input counts as none."""
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
