"""Chat templates: the texts that transformers would make, what ends a turn, and templates that fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lib.errors import RecipeError, WeightsError
from lib.text.chat import ChatStyle
from lib.text.entry_tokens import tokenize_entries
from lib.text.hugging_face import HuggingFaceTokenizer
from lib.text.prompt_tokens import end_token, entry_tokens
from lib.text.prompts import STYLES, chosen_style
from tests.lib.text.test_entry_tokens import table
from tests.support.chats import CHATML, END, TURN, write_chat_tokenizer
from tests.support.tiny_tokenizers import byte_fallback, wordpiece

# As Llama 3, Gemma, Mistral, Qwen3 and SmolLM3 have them, shortened.
TEMPLATES = {
    "chatml": CHATML,
    "trims": "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}",
    "plain": "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}",
    "thinks": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}<think>\n\n</think>\n\n{{ m.content }}<|im_end|>{% endgeneration %}\n"
    "{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "loops": "{% for m in messages %}{% if loop.index > 9 %}{% break %}{% endif %}"
    "<|im_start|>{{ m.role | tojson }}{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{{ 'assistant' | tojson }}{% endif %}",
}


def style(folder: Path, template: str) -> ChatStyle:
    found = ChatStyle.read(write_chat_tokenizer(folder, template))
    assert found is not None
    return found


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_texts_are_those_of_transformers(tmp_path: Path, template: str) -> None:
    from transformers import AutoTokenizer

    ours, theirs = style(tmp_path, template), AutoTokenizer.from_pretrained(tmp_path)
    for instruction, input_, content in (("Say it", "", "Say it"), ("Größe?", "1 <b>\n", "Größe?\n\n1 <b>\n")):
        asked: list[dict[str, Any]] = [{"role": "user", "content": content}]
        prompt = theirs.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert ours.prompt(instruction, input_) == prompt
        whole = theirs.apply_chat_template([*asked, {"role": "assistant", "content": "so be it"}], tokenize=False)
        assert (prompt + ours.response("so be it") + ours.end).rstrip() == whole.rstrip()
        tokenizer = HuggingFaceTokenizer.read(tmp_path)
        tokens, start = entry_tokens(ours, tokenizer, prompt, ours.response("so be it"))
        expected = theirs(whole, add_special_tokens=False)["input_ids"]
        assert [*tokens, end_token(ours, tokenizer)] == expected[: len(tokens) + 1]
        assert tokenizer.decode(tokens[start:]) == ours.response("so be it")


def test_a_day_is_the_same_every_day(tmp_path: Path) -> None:
    template = "{{ strftime_now('%d %b %Y') }}|{% for m in messages %}{{ m.content }}!{% endfor %}"
    assert style(tmp_path, template).prompt("a") == "26 Jul 2024|a!"


@pytest.mark.parametrize("blank", ["", " \n"])
def test_white_space_alone_is_no_input(tmp_path: Path, blank: str) -> None:
    chat = style(tmp_path, CHATML)
    assert chat.prompt("do", blank) == chat.prompt("do")


@pytest.mark.parametrize("output", ["yes", " yes\n", "<think> no", "a\n\nb"])
def test_the_answer_is_found_again(tmp_path: Path, output: str) -> None:
    thinking = style(tmp_path, TEMPLATES["thinks"])
    assert thinking.response(output) == f"<think>\n\n</think>\n\n{output.strip()}"
    assert thinking.answer(thinking.response(output)) == thinking.answer(output) == output.strip()


def test_a_turn_ends_with_the_templates_token_else_with_the_tokenizers(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer.read(write_chat_tokenizer(tmp_path))
    turn, text = (tokenizer.entry(name, "", marked=True)[0] for name in (END, "</s>"))
    assert [end_token(style(tmp_path, CHATML), tokenizer)] == turn
    assert [end_token(style(tmp_path, TEMPLATES["plain"]), tokenizer)] == text == [tokenizer.end]
    signs = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n###\n{% endfor %}"
    assert end_token(style(tmp_path, signs), tokenizer) == tokenizer.end  # answers may have "###" too
    assert end_token(STYLES["alpaca"], tokenizer) == tokenizer.end


def test_a_tokenizer_that_ends_no_text_is_refused(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer.read(wordpiece(tmp_path))
    with pytest.raises(RecipeError, match="has no token that ends a text, so no model could learn to stop"):
        end_token(STYLES["alpaca"], tokenizer)


def test_other_styles_begin_with_what_the_family_expects(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer.read(byte_fallback(tmp_path))  # <s> before a text
    tokens, start = entry_tokens(STYLES["phi3"], tokenizer, "ab", "cd")
    plain, at = tokenizer.entry("ab", "cd")
    assert (tokens, start) == ([*tokenizer.begin, *plain], at + 1)
    assert len(tokenizer.begin) == 1


def test_entries_hold_the_tokens_of_the_conversation(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer.read(write_chat_tokenizer(tmp_path))
    made = tokenize_entries(
        {"train": table((3, "call", "now", "lunch"))},
        style=style(tmp_path, CHATML),
        tokenizer=tokenizer,
        max_length=None,
        context_length=64,
    )
    row = made.tokens["train"].iloc[0]
    begin, end = (tokenizer.entry(name, "", marked=True)[0][0] for name in (TURN, END))
    assert list(row["tokens"]).count(begin) == 2
    assert tokenizer.decode(row["tokens"][row["response_start"] :]) == "lunch"
    assert (made.report["end"], made.report["pad"]) == (end, tokenizer.pad)


def test_auto_is_the_template_where_there_is_one(tmp_path: Path) -> None:
    with_one = write_chat_tokenizer(tmp_path / "with")
    without = write_chat_tokenizer(tmp_path / "without", None)
    assert isinstance(chosen_style("auto", with_one), ChatStyle)
    assert chosen_style("auto", with_one) == chosen_style("chat", with_one)
    assert chosen_style("auto", without) == STYLES["alpaca"]
    assert chosen_style("phi3", with_one) == STYLES["phi3"]
    with pytest.raises(RecipeError, match=r"is 'chat', and the tokenizer of model\.weights"):
        chosen_style("chat", without)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}", r"fails \(Unexpected end of template"),
        ("{{ raise_exception('no system role') }}", r"fails \(no system role\)"),
        ("{{ nobody.name }}", r"fails \('nobody' is undefined\)"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", r"fails \(access to attribute '__class__'"),
        ("{{ messages.append(1) }}", r"fails \(access to attribute 'append'"),
        ("{% include 'secret' %}", r"fails \(no loader for this environment"),
        ("{% for i in range(10 ** 9) %}.{% endfor %}", r"fails \(Range too big"),
        ("always the same", "writes another text before an answer than the one that asks for it"),
        (
            "{% if add_generation_prompt %}think!{% endif %}{{ messages[-1].content }}",
            "writes another text before an answer",
        ),
    ],
)
def test_a_template_that_fails_is_refused_in_one_sentence(tmp_path: Path, template: str, said: str) -> None:
    with pytest.raises(WeightsError, match=f"the chat template in .*{said}") as refused:
        chosen_style("auto", write_chat_tokenizer(tmp_path, template))
    assert f"{os.linesep}" not in f"{refused.value}"
    assert "set prompt.style to alpaca or phi3" in f"{refused.value}"
