"""Answers instructions with a saved model.

The prompt's wording comes from files beside the weights, not from today's code, so that it agrees with the training.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import nn

from lib.errors import MessagesError, WeightsError
from lib.model.follower import load_follower
from lib.model.language_model import LanguageModel, Writing
from lib.model.machine.device import device_name
from lib.model.weights.saved import INFERENCE, SavedFields
from lib.progress import Progress, silent
from lib.text.chat import ChatStyle
from lib.text.prompt_tokens import end_token, entry_tokens
from lib.text.prompts import CHAT, PromptStyle, Style
from lib.text.tokenizer import LONGEST_TEXT, Tokenizer, load_tokenizer
from lib.text.turns import Turn, earlier_turns

# An instruction, its input ("" for none) and perhaps the turns before it (see `why_not_earlier`).
Question = tuple[str, str] | tuple[str, str, Sequence[Turn]]

WINDOW = 256  # questions in memory at once: enough to batch prompts of similar length


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    response: the answer, as `Style.answer` finds it.
    tokens: how many were generated, without the end token.
    stopped: whether the model ended by itself, before the limit of new tokens.
    """

    response: str
    tokens: int
    stopped: bool


@dataclass(frozen=True)
class Answerer:
    """A model with its prompt style, tokenizer and generation settings. It runs on the device of `model`.

    precision: of the matrix products, "float32" or "bfloat16".
    """

    model: LanguageModel
    style: PromptStyle
    tokenizer: Tokenizer
    precision: str
    writing: Writing

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto", writing: Writing | None = None) -> "Answerer":
        """Loads a model's folder: model.safetensors, config.json, inference.json and its tokenizer.

        `writing` overrides the settings that registration adds to the folder. Raises WeightsError if a file is missing,
        damaged or does not fit the others, RecipeError if there is no such device ("auto", "cpu" or "cuda").
        """
        saved = SavedFields(folder / INFERENCE)
        model = load_follower(folder)
        assert isinstance(model, nn.Module)
        model.to(device_name(device)).eval()
        return cls(
            model,
            _saved_style(saved, folder),
            load_tokenizer(folder),
            precision=saved.get("precision", str),
            writing=writing or _saved_writing(saved),
        )

    @property
    def stops(self) -> tuple[int, ...]:
        """The tokens that end an answer: what training put there, and what the tokenizer and the weights say."""
        own = () if self.tokenizer.end is None else (self.tokenizer.end,)
        return tuple(dict.fromkeys((end_token(self.style, self.tokenizer), *own, *self.model.stops)))

    def answer(self, questions: Iterable[Question]) -> Iterator[str]:
        """Yields an answer to each question, in order, reading `WINDOW` questions at a time.

        Raises MessagesError, naming the position (from 1), if an instruction is empty, a text is not a string, or its
        earlier turns are none that can stand before a question.
        """
        waiting = iter(questions)
        before = 0
        while window := list(islice(waiting, WINDOW)):
            for position, question in enumerate(window, start=before + 1):
                _require_question(position, *question)
            for written in self.write(window, first=before + 1):
                yield written.response
            before += len(window)

    def write(self, questions: Sequence[Question], *, first: int = 1, progress: Progress = silent) -> list[Written]:
        """Writes a response to each question, in order; questions do not influence each other.

        A character of several bytes that the limit cuts is left out; other bytes that are not UTF-8 become U+FFFD.
        Tokens outside the encoding (a vocabulary padded to a round number) have no text.

        first: the position of the first question, in errors. Raises MessagesError for a question that does not fit the
        context, where the model cannot go on past it, and what `LanguageModel.generate` raises.
        """
        end = end_token(self.style, self.tokenizer)
        prompts = [
            entry_tokens(self.style, self.tokenizer, self.style.texts(*question), end=end).tokens
            for question in questions
        ]
        longest = self.model.longest_prompt
        for position, prompt in enumerate(prompts, start=first):
            if longest is not None and len(prompt) > longest:
                raise MessagesError(
                    f"question {position} has {len(prompt):,} tokens as a prompt, and the model can answer at most"
                    f" {longest:,}: shorten it"
                )
        continuations = self.model.generate(
            prompts, self.writing, stops=self.stops, precision=self.precision, progress=progress
        )
        return [
            Written(self.style.answer(self.tokenizer.decode(each.tokens)), len(each.tokens), each.stopped)
            for each in continuations
        ]


def _saved_style(saved: SavedFields, folder: Path) -> PromptStyle:
    """Returns the style that the model was trained with."""
    if saved.get("prompt.style", str) != CHAT:
        return Style(
            before_instruction=saved.get("prompt.before_instruction", str),
            before_input=saved.get("prompt.before_input", str),
            before_response=saved.get("prompt.before_response", str),
        )
    style = ChatStyle.read(folder)
    if style is None:
        raise WeightsError(f"{folder} has no chat template, by which its prompts are made: train the model again")
    return style


def _saved_writing(saved: SavedFields) -> Writing:
    return Writing(
        max_new_tokens=saved.get("respond.max_new_tokens", int),
        batch_size=saved.get("respond.batch_size", int),
        temperature=saved.get("respond.temperature", float | int),
        top_k=saved.get("respond.top_k", int | None),
        top_p=saved.get("respond.top_p", float | int | None),
        seed=saved.get("respond.seed", int),
    )


def _require_question(position: int, instruction: object, input: object, earlier: Sequence[Turn] = ()) -> None:
    texts = [("instruction", instruction), ("input", input)]
    texts += [(f"earlier turn {number}", turn.content) for number, turn in enumerate(earlier, start=1)]
    for name, text in texts:
        if not isinstance(text, str):
            raise MessagesError(f"the {name} of question {position} is not a string but {text!r}: give it as a string")
        if len(text) > LONGEST_TEXT:
            raise MessagesError(
                f"the {name} of question {position} has {len(text):,} characters: cut it, {LONGEST_TEXT:,} is the most"
                " that can be encoded"
            )
    if isinstance(instruction, str) and not instruction.strip():
        raise MessagesError(f"the instruction of question {position} is empty: leave it out, nothing is asked")
    earlier_turns([turn._asdict() for turn in earlier], f"what was said before question {position}")
