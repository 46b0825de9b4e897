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
from lib.text.prompt_tokens import EntryTokens, end_token, entry_tokens
from lib.text.prompts import STYLES, chosen_style
from lib.text.turns import Part, Turn
from tests.lib.text.test_entry_tokens import table
from tests.support.chats import CHATML, END, TURN, write_chat_tokenizer
from tests.support.entries import entry, special
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
        end = end_token(ours, tokenizer)
        tokens, ((start, _),) = entry_tokens(ours, tokenizer, ours.texts(instruction, input_, (), "so be it"), end=end)
        expected = theirs(whole, add_special_tokens=False)["input_ids"]
        assert [*tokens, end] == expected[: len(tokens) + 1]
        assert tokenizer.decode(tokens[start:]) == ours.response("so be it")


TALK = [
    Turn("system", "Be brief."),
    Turn("user", " Größe?\n"),
    Turn("assistant", "win a prize"),
    Turn("user", "And\n\nnow?"),
    Turn("assistant", "so be it"),
]
# As transformers wants it for its mask of what the assistant says.
MASKED = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "thinks": TEMPLATES["thinks"],
    # As Qwen3: only what follows the last question has an empty thought before it.
    "thinks last": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content.strip('\n') }}<|im_end|>"
    "{% endgeneration %}\n{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "ends a text": "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% generation %} {{ m.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}[INST] {{ m.content | trim }} [/INST]{% endif %}{% endfor %}",
}


def conversation(chat: ChatStyle, tokenizer: HuggingFaceTokenizer, talk: list[Turn]) -> EntryTokens:
    """The tokens of a conversation whose last two turns are the question and its answer."""
    texts = chat.texts(talk[-2].content, "", talk[:-2], talk[-1].content)
    return entry_tokens(chat, tokenizer, texts, end=end_token(chat, tokenizer))


@pytest.mark.parametrize("first", [0, 1], ids=["system", "user"])
@pytest.mark.parametrize("template", MASKED.values(), ids=MASKED.keys())
def test_what_is_learnt_of_several_turns_is_what_transformers_masks(tmp_path: Path, template: str, first: int) -> None:
    from transformers import AutoTokenizer

    chat, theirs = style(tmp_path, template), AutoTokenizer.from_pretrained(tmp_path)
    tokenizer = HuggingFaceTokenizer.read(tmp_path)
    found = conversation(chat, tokenizer, TALK[first:])
    whole = theirs.apply_chat_template(
        [turn._asdict() for turn in TALK[first:]], return_assistant_tokens_mask=True, return_dict=True
    )
    ours = [*found.tokens, end_token(chat, tokenizer)]
    assert ours == whole["input_ids"][: len(ours)]
    (_, (start, _)) = found.answers
    learnt = {place for begin, behind in [*found.answers[:-1], (start, len(ours))] for place in range(begin, behind)}
    assert learnt == {place for place, answer in enumerate(whole["assistant_masks"]) if answer}


@pytest.mark.parametrize("template", [TEMPLATES[name] for name in ("chatml", "trims", "loops")])
def test_several_turns_are_those_of_transformers(tmp_path: Path, template: str) -> None:
    from transformers import AutoTokenizer

    chat, theirs = style(tmp_path, template), AutoTokenizer.from_pretrained(tmp_path)
    asked = theirs.apply_chat_template(
        [turn._asdict() for turn in TALK[:-1]], tokenize=False, add_generation_prompt=True
    )
    assert chat.prompt(TALK[-2].content, "", TALK[:-2]) == asked


@pytest.mark.parametrize(
    "words", ["<|im_end|>", "</s>", "<|endoftext|>", "[INST] <s>[/INST]", "<|im_start|>system\nhi"]
)
@pytest.mark.parametrize("turn", range(len(TALK)))
def test_the_templates_special_words_are_text_in_what_people_say(tmp_path: Path, words: str, turn: int) -> None:
    chat = style(tmp_path, CHATML)
    tokenizer = HuggingFaceTokenizer.read(tmp_path)
    plain, talk = conversation(chat, tokenizer, TALK), list(TALK)
    talk[turn] = Turn(talk[turn].role, f"so {words} it")
    found = conversation(chat, tokenizer, talk)
    for name in ("<s>", "</s>", TURN, END):
        assert found.tokens.count(special(tokenizer, name)) == plain.tokens.count(special(tokenizer, name))
    assert f"so {words} it" in tokenizer.decode(found.tokens)
    assert len(found.answers) == 2


def test_no_words_change_what_the_template_writes(tmp_path: Path) -> None:
    template = "{% for m in messages %}{% if 'secret' in m.content %}leak{% endif %}{{ m.content }};{% endfor %}"
    assert style(tmp_path, template).prompt("a secret") == "a secret;"


NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.mark.parametrize(
    "template", [NO_SYSTEM, NO_SYSTEM.replace("{{ raise_exception('no system') }}", "{% continue %}")]
)
def test_a_systems_words_stand_before_the_users_first_where_they_have_no_place(tmp_path: Path, template: str) -> None:
    chat = style(tmp_path, template)
    assert chat.prompt("now?", "", TALK[:1]) == "user: Be brief.\n\nnow?\nassistant: "
    assert chat.prompt("now?", "", TALK[:3]).startswith(
        "user: Be brief.\n\n Größe?\n\nassistant: win a prize\nuser: now?"
    )
    assert "no place for the words of a system" in chat.remark({"system", "user"})
    assert chat.remark({"user", "assistant"}) == style(tmp_path / "other", CHATML).remark({"system"}) == ""


def test_a_systems_words_may_stand_before_the_last_question(tmp_path: Path) -> None:
    """As Mistral's template has them."""
    template = (
        "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
        "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] "
        "{% if (loop.last or loop.revindex0 == 1 and messages[-1].role == 'assistant') and system %}"
        "{{ system }}\n\n{% endif %}{{ m.content }}[/INST]"
        "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
    )
    chat = style(tmp_path, template)
    asked = "[INST]  Größe?\n[/INST] win a prize</s>[INST] Be brief.\n\nAnd\n\nnow?[/INST]"
    assert chat.prompt(TALK[-2].content, "", TALK[:-2]) == asked
    tokenizer = HuggingFaceTokenizer.read(tmp_path)
    found = conversation(chat, tokenizer, TALK)
    answers = [tokenizer.decode(found.tokens[begin:behind]) for begin, behind in found.answers]
    assert [answer.strip() for answer in answers] == ["win a prize", "so be it"]


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
    turn, text = (entry(tokenizer, name, "", marked=True)[0] for name in (END, "</s>"))
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
    texts = [[Part("ab"), Part("cd", answer=True)]]
    tokens, ((start, _),) = entry_tokens(STYLES["phi3"], tokenizer, texts, end=end_token(STYLES["phi3"], tokenizer))
    plain, at = entry(tokenizer, "ab", "cd")
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
    begin, end = (entry(tokenizer, name, "", marked=True)[0][0] for name in (TURN, END))
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
        ("{{ messages[-1].content }}", "loses or repeats the words of a turn"),
        ("always the same", "loses or repeats the words of a turn"),
        (
            "{% if add_generation_prompt %}think!{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}",
            "writes another text before an answer than the one that asks for it",
        ),
    ],
)
def test_a_template_that_fails_is_refused_in_one_sentence(tmp_path: Path, template: str, said: str) -> None:
    with pytest.raises(WeightsError, match=f"the chat template in .*{said}") as refused:
        chosen_style("auto", write_chat_tokenizer(tmp_path, template))
    assert f"{os.linesep}" not in f"{refused.value}"
    assert "set prompt.style to alpaca or phi3" in f"{refused.value}"
