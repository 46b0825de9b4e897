"""Prompt styles: how an instruction, its input and its response become one text, and back. A new style is one entry of
`STYLES`; a model keeps the style that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lib.errors import RecipeError


@dataclass(frozen=True)
class Style:
    """The texts before the instruction, before the input (if any) and before the response, in this order.

    `before_response` belongs to the response: in the published procedure the prompt ends before it, and the model
    writes it.
    """

    before_instruction: str
    before_input: str
    before_response: str

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

if TYPE_CHECKING:
    StyleName = str
else:
    StyleName = Literal[tuple(STYLES)]  # the names, as a recipe's choices


def named_style(name: str) -> Style:
    """Returns the style called `name`; raises `RecipeError` if there is none."""
    if name not in STYLES:
        raise RecipeError(f"prompt.style {name!r} is not known: choose {' or '.join(map(repr, STYLES))}")
    return STYLES[name]
