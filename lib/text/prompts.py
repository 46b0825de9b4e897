"""Prompt styles: how an instruction, its input and its response become one text, and back.

A new style is one entry of `STYLES`; a model keeps the style that it was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lib.errors import RecipeError


@dataclass(frozen=True)
class Style:
    """What stands before the instruction, before the input, and before the response.

    The whole text is `before_instruction`, the instruction, `before_input` and the input where there is one,
    `before_response` and the response. What stands before the response belongs to it: in the published procedure a
    model is asked without, and writes it itself.
    """

    before_instruction: str
    before_input: str
    before_response: str

    def prompt(self, instruction: str, input: str = "") -> str:
        """The text that a model is asked with: up to where the response begins. White space alone is no input."""
        given = f"{self.before_input}{input}" if input.strip() else ""
        return f"{self.before_instruction}{instruction}{given}"

    def response(self, output: str) -> str:
        """The text that a model is to put behind the prompt."""
        return f"{self.before_response}{output}"

    def full_text(self, instruction: str, input: str, output: str) -> str:
        """The text that a model is trained on."""
        return self.prompt(instruction, input) + self.response(output)

    def answer(self, generated: str) -> str:
        """The output in what a model put behind a prompt, without the prompt: the inverse of `response`.

        Taken away are white space at both ends and, at the beginning and once, what the style puts before a response.
        The same words further on are part of the answer. A model that did not write them has answered none the less.
        """
        return generated.strip().removeprefix(self.before_response.strip()).strip()


STYLES: dict[str, Style] = {
    # Taori et al. 2023, "Stanford Alpaca: An Instruction-following LLaMA model", as chapter 7 of "Build a Large
    # Language Model (From Scratch)" has it: with the same first sentence for entries with and without input.
    "alpaca": Style(
        before_instruction="Below is an instruction that describes a task. Write a response that appropriately"
        " completes the request.\n\n### Instruction:\n",
        before_input="\n\n### Input:\n",
        before_response="\n\n### Response:\n",
    ),
    # Abdin et al. 2024, "Phi-3 Technical Report", as solution 7.1 of that book has it: with a colon before the response
    # and without the <|end|> tokens. To GPT-2's encoding these marks are ordinary text, five tokens and more each.
    "phi3": Style(before_instruction="<|user|>\n", before_input="\n", before_response="\n<|assistant|>:\n"),
}

if TYPE_CHECKING:
    StyleName = str
else:
    StyleName = Literal[tuple(STYLES)]  # the names, as a recipe's choices


def named_style(name: str) -> Style:
    """The style called `name`; raises `RecipeError` if there is none."""
    if name not in STYLES:
        raise RecipeError(f"prompt.style {name!r} is not known: choose {' or '.join(map(repr, STYLES))}")
    return STYLES[name]
