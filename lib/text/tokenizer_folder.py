"""Copies a tokenizer's files out of a folder of weights, or makes those that are missing, so that all are alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import WeightsError
from lib.files.jsonfile import save_json
from lib.text.byte_letters import LETTERS
from lib.text.gpt2 import END, PAD, RANKS, VOCABULARY, read_ranks
from lib.text.hugging_face import first_line, read_core
from lib.text.tokenizer_files import ROLES_FILE, SETTINGS, TEMPLATE, TOKENIZER, read_object, token_text

if TYPE_CHECKING:
    import tokenizers

# What tokenizer.json is made from where it is missing: WordPiece; byte-pair encoding; SentencePiece; tiktoken.
SOURCES = (
    *("vocab.txt", "vocab.json", "spm.model", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
    *("sentencepiece.model", "tiktoken.model", "tekken.json"),
)
# All that a tokenizer may consist of.
FILES = (TOKENIZER, SETTINGS, ROLES_FILE, TEMPLATE, "added_tokens.json", "merges.txt", *SOURCES)
# Special tokens by name, for folders whose settings do not name them, as BERT's and RoBERTa's.
USUAL_NAMES = {
    "bos_token": ("<s>", "<|endoftext|>"),
    "eos_token": ("</s>", "<|endoftext|>"),
    "unk_token": ("[UNK]", "<unk>", "<|endoftext|>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
LONGEST = 1_000_000  # tokens; above, transformers means "no limit"


def prepare_tokenizer(source: Path, target: Path) -> None:
    """Writes the tokenizer of a folder of weights into `target`: tokenizer.json, tokenizer_config.json and the chat
    template, if there is one.

    A tokenizer.json is copied byte by byte. Without one it is made by transformers, from the vocabulary of the family;
    that needs config.json to tell the family. The settings name the special tokens and say how rows are padded: by the
    padding token, else the end of a text, else the unknown token, else token 0; at the right.

    Raises WeightsError if there is no tokenizer, if it is damaged, or if only code beside the weights could make it.
    """
    settings = {**read_object(source / ROLES_FILE), **read_object(source / SETTINGS)}
    file = source / TOKENIZER
    if file.is_file():
        core = read_core(file)
        (target / TOKENIZER).write_bytes(file.read_bytes())
    else:
        core, made = _made(source, settings)
        settings = {**settings, **made}
        (target / TOKENIZER).write_text(core.to_str(), encoding="utf-8")
    save_json(_settled(settings, core), target / SETTINGS)
    template = _template(source, settings)
    if template is not None:
        (target / TEMPLATE).write_text(template, encoding="utf-8")


def has_gpt2_vocabulary(folder: Path) -> bool:
    """Tells whether the tokenizer in a folder of weights has GPT-2's own vocabulary; true too if there is none.

    A model of GPT-2's shape in another language has another one. Added tokens beyond the vocabulary do not count.
    Raises WeightsError if the file is damaged.
    """
    if (folder / TOKENIZER).is_file():
        model = read_object(folder / TOKENIZER).get("model")
        return _is_gpt2s(model.get("vocab") if isinstance(model, dict) else None)
    if (folder / "vocab.json").is_file():
        return _is_gpt2s(read_object(folder / "vocab.json"))
    return not any((folder / name).is_file() for name in SOURCES)


def _is_gpt2s(vocabulary: Any) -> bool:
    if not isinstance(vocabulary, dict) or not VOCABULARY - 1 <= len(vocabulary) <= VOCABULARY:
        return False
    ranks = {"".join(LETTERS[byte] for byte in token): rank for token, rank in read_ranks(RANKS).items()}
    return bool({**vocabulary, END: PAD} == {**ranks, END: PAD})


def _made(source: Path, settings: dict[str, Any]) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """Returns the tokenizer that transformers makes without running foreign code, and its special tokens."""
    present = [name for name in SOURCES if (source / name).is_file()]
    if not present:
        raise WeightsError(
            f"{source} has no tokenizer ({TOKENIZER}, or a vocabulary such as vocab.txt or spm.model): put there the"
            " tokenizer's files that the weights were made with"
        )
    if "auto_map" in settings:
        raise WeightsError(
            f"the tokenizer of {source} can only be made by code that comes with the weights, which is not run here:"
            f" save it as {TOKENIZER} where you trust that code, or choose other weights"
        )
    from transformers import AutoTokenizer

    try:
        made = AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        core = made.backend_tokenizer
    except Exception as error:  # whatever class its readers raise
        raise WeightsError(
            f"{source} has {', '.join(present)}, of which transformers cannot make a tokenizer ({first_line(error)}):"
            " get the files again, config.json too"
        ) from error
    return core, dict(made.special_tokens_map)


def _settled(settings: dict[str, Any], core: tokenizers.Tokenizer) -> dict[str, Any]:
    """Returns the settings by which transformers reads tokenizer.json as it stands.

    The family's own class would make a tokenizer of its vocabulary alone. Types of tokens (`token_type_ids`) are left
    out because most families do not take them, and to the others one text has one type.
    """
    named = {role: token_text(settings.get(role)) for role in USUAL_NAMES}
    if not any(named.values()):
        added = {token.content for token in core.get_added_tokens_decoder().values() if token.special}
        named = {role: next((name for name in names if name in added), None) for role, names in USUAL_NAMES.items()}
    roles = {role: name for role, name in named.items() if name is not None and core.token_to_id(name) is not None}
    pad = next((roles[role] for role in ("pad_token", "eos_token", "unk_token") if role in roles), core.id_to_token(0))
    longest = settings.get("model_max_length")
    limit = {"model_max_length": int(longest)} if isinstance(longest, int | float) and longest < LONGEST else {}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **roles,
        "pad_token": pad,
        "padding_side": "right",
        "truncation_side": "right",
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **limit,
    }


def _template(source: Path, settings: dict[str, Any]) -> str | None:
    """Returns the chat template, from its file or from the field that older folders have."""
    file = source / TEMPLATE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):  # several by their names
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None
