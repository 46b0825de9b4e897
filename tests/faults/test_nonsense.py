"""Nonsense of every kind, put together at random: texts, tables, recipes, command lines and requests."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from flows.__main__ import DOORS, main
from flows.classify import PROGRAM as CLASSIFY
from flows.http.batching import classify
from flows.instruct import PROGRAM as INSTRUCT
from flows.score import parse as parse_score
from flows.terminal.command_line import parse
from flows.terminal.exits import exit_status_of
from lib.data.duplicates import normalise
from lib.data.messages.balance import balance_messages
from lib.data.messages.files import read_splits
from lib.data.messages.labels import LabelRules
from lib.data.messages.reading import read_messages
from lib.data.messages.split import split_messages
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.errors import FinetuneError, RecipeError
from lib.inference.predictor import Predictor
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.fields import recipe_fields, section_names
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import build_recipe, load_recipe
from lib.recipes.scoring import ScoringJob
from lib.recipes.sections import Section
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokenizer import Tokenizer, load_tokenizer
from lib.visible import visible
from tests.faults.fuzz.allowed import attempt, require_sentence
from tests.faults.fuzz.asked import LengthEngine, server
from tests.faults.outcomes import FULL, Outcomes, scale
from tests.support.tiny_tokenizers import byte_fallback, byte_pair, unigram, wordpiece

pytestmark = pytest.mark.faults

TRIES = scale(100, 4000)
NONSENSE = settings(
    max_examples=TRIES,
    deadline=None,
    database=None,
    derandomize=not FULL,  # beside other tests the same ones each time
    suppress_health_check=[*HealthCheck],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)

# Half characters, what a terminal obeys, what changes the direction, what composes, what is none at all.
AWKWARD = st.sampled_from(
    [
        *("\ud83d", "\ude00", "\x00", "\x1b[2J", "\u202e", "\u200b", "\ufeff", "\u0300", "\U000e0001", "\uffff", "\r"),
        *("👨‍👩‍👧", "\u1e9e", "İ", "ﷺ", "<|endoftext|>", "[CLS]", "</s>", "ﬀ", "\u3000", "\x85", "\n"),
    ]
)
TEXTS = st.one_of(
    st.text(st.characters(), max_size=40),
    st.lists(st.one_of(AWKWARD, st.text(max_size=5)), max_size=8).map("".join),
    st.sampled_from(["", " ", "\u3000\t", "a" * 100_000, "\ud83d" * 50, "é" * 5000, "a " * 5000]),
)
WORDS = st.one_of(
    st.text(max_size=12), st.sampled_from(["null", "true", "1", "1e999", "-1", "nan", "[a, b]", "{a: 1}"])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def _noted(outcomes: Outcomes, request: pytest.FixtureRequest) -> Iterator[None]:
    """Notes what became of a test: hypothesis shows the smallest input that fails."""
    failed = request.session.testsfailed
    yield
    survived = request.session.testsfailed == failed
    what = request.node.originalname.removeprefix("test_").replace("_", " ")
    outcomes.note(what, survived, lost="see the test's output", times=TRIES)


def sentence_or(work: Callable[[], Any]) -> Any:
    """What the work gives; None where it is refused in one sentence."""
    try:
        return work()
    except FinetuneError as error:
        require_sentence(str(error), error)
        return None


# Texts


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> list[Tokenizer]:
    kinds = [wordpiece, byte_pair, byte_fallback, unigram]
    return [gpt2_tokenizer(), *(load_tokenizer(kind(tmp_path_factory.mktemp("tokenizer"))) for kind in kinds)]


@NONSENSE
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_texts_are_classified_or_named(texts: list[str], tokenizers: list[Tokenizer]) -> None:
    for tokenizer in tokenizers:
        predictor = Predictor(LengthEngine(), tokenizer, 16, positive="spam")
        predictions = sentence_or(partial(classify, predictor, texts))
        for prediction in predictions or ():
            assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert (predictions is None) == any(not text.strip() or is_half(text) for text in texts)


def is_half(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


@NONSENSE
@given(text=TEXTS)
def test_texts_are_levelled(text: str) -> None:
    assert bool(normalise(text)) == bool(text)
    assert normalise(f"a{text}") == normalise(f"A{text} ")


@NONSENSE
@given(text=TEXTS)
def test_texts_come_back_from_their_tokens(text: str) -> None:
    if not is_half(text):
        (tokens,) = gpt2_tokenizer().encode([text])
        assert gpt2_tokenizer().decode(tokens) == text


# Tables

TYPES: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "string": lambda: TEXTS.filter(lambda text: not is_half(text)),
    "large_string": lambda: st.sampled_from(["ham", "spam", "Spam ", "", "1.0"]),
    "binary": lambda: st.binary(max_size=8),
    "int8": lambda: st.integers(-128, 127),
    "uint64": lambda: st.integers(0, 2**64 - 1),
    "float64": st.floats,
    "float32": lambda: st.floats(width=32),
    "bool_": st.booleans,
    "date32": st.dates,
    "timestamp": lambda: st.integers(-(2**40), 2**40),
    "null": st.none,
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pa.Array:
    """Draws a column: of any type, also of a dictionary, and inside of a list or a structure."""
    name = draw(st.sampled_from(sorted(TYPES)))
    kind = pa.timestamp("us") if name == "timestamp" else getattr(pa, name)()
    cell = st.one_of(st.none(), TYPES[name]()) if draw(st.booleans()) else TYPES[name]()
    column = pa.array(draw(st.lists(cell, min_size=rows, max_size=rows)), kind)
    form = draw(st.sampled_from(["plain", "plain", "dictionary", "list", "structure"]))
    if form == "dictionary" and pa.types.is_string(kind):
        return column.dictionary_encode()
    if form == "list":
        return pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), column)
    return pa.StructArray.from_arrays([column], ["body"]) if form == "structure" else column


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draws a table with the columns `text` and `label`, and perhaps another."""
    rows = draw(st.integers(0, 12))
    names = ["text", "label", *draw(st.sampled_from([[], ["id"], ["text.body"], ["__index_level_0__"]]))]
    return pa.table({name: draw(columns(rows)) for name in draw(st.permutations(names))})


def trained_on(file: Path, **how: Any) -> None:
    """Does with a file what the steps up to the training do: no row is lost on the way."""
    read = partial(read_messages, how=How(), text_column="text", label_column="label", **how)
    files, scratch = {"train": [DataFile(file, file.name)]}, file.parent / "scratch"
    found = sentence_or(lambda: read_splits(files, read, scratch=scratch, rules=lambda made: LabelRules()))
    if found is None:
        return
    messages = pa.Table.from_batches(found.messages("train")).to_pandas()
    assert len(messages) + sum(map(len, found.left_out())) == sum(each["rows"] for each in found.files)
    divide = partial(
        split_messages,
        train=0.6,
        validation=0.2,
        test=0.2,
        seed=1,
        stratify=True,
        group_duplicates=True,
        labels=found.labels,
    )
    for method in ("undersample", "oversample", "none"):
        balanced = balance_messages(messages, method=method, seed=1)
        assert {*balanced.balanced["id"], *balanced.reserve["id"]} == {*messages["id"]}
        divided = sentence_or(partial(divide, balanced.balanced))
        if divided is not None:
            ids = [id_ for part in (divided.train, divided.validation, divided.test) for id_ in part["id"].unique()]
            assert sorted(ids) == sorted({*balanced.balanced["id"]})


@NONSENSE
@given(table=tables(), drop=st.booleans())
def test_tables_are_read_or_refused(table: pa.Table, drop: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "nonsense.parquet"
    pq.write_table(table, file)
    choice = "drop" if drop else "error"
    trained_on(file, empty_text=choice, empty_label=choice, bad_rows=choice)


@NONSENSE
@given(rows=st.lists(st.dictionaries(st.sampled_from(["text", "label", "id"]), VALUES, max_size=3), max_size=8))
def test_records_are_read_or_refused(rows: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "nonsense.json"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    trained_on(file, empty_text="drop", empty_label="drop", bad_rows="drop")


# Recipes and command lines

MODELS: tuple[tuple[type[Section], str | None], ...] = (
    (ClassifyRecipe, "classify"),
    (InstructRecipe, "instruct"),
    (ScoringJob, None),
)


def paths(model: type[Section]) -> list[str]:
    """The dotted fields and groups of a recipe."""
    return [*(field.path for field in recipe_fields(model)), *section_names(model)]


def fitting(model: type[Section], path: str) -> st.SearchStrategy[Any]:
    """Values that a field may have: its default, near numbers, the words that its description names."""
    field = {field.path: field for field in recipe_fields(model)}.get(path)
    words = [] if field is None else [word.strip(",") for word in field.kind.split()]
    return st.one_of(
        st.just(None if field is None else field.default),
        st.sampled_from([0, 1, 2, 0.5, 1e-5, 3, 64, True, False, None, "auto", "a.csv", *words]),
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[type[Section], str | None, dict[str, Any]]:
    """Draws a kind of recipe, and values for some of its fields."""
    model, folder = draw(st.sampled_from(MODELS))
    chosen = draw(st.lists(st.one_of(st.sampled_from(paths(model)), WORDS), max_size=4, unique=True))
    return model, folder, {path: draw(st.one_of(VALUES, fitting(model, path), WORDS)) for path in chosen}


@NONSENSE
@given(changed=changes())
def test_recipes_are_built_or_refused(changed: tuple[type[Section], str | None, dict[str, Any]]) -> None:
    model, folder, values = changed
    if folder is None:
        given_ = {"inputs": ["a.csv"], "output": "out"}
        recipe = refused_by_name(lambda: build_recipe(given_, values, model=model), values)
    else:
        recipe = refused_by_name(lambda: load_recipe("quickstart", values, folder=folder, model=model), values)
    if recipe is not None:
        assert build_recipe(json.loads(recipe.model_dump_json()), model=model) == recipe


def refused_by_name(work: Callable[[], Any], values: dict[str, Any]) -> Any:
    """What the work gives; None where a sentence refuses it that names one of the fields."""
    try:
        return work()
    except RecipeError as error:
        said = str(error)
    require_sentence(said)
    names = [part[:40] for path in values for part in (path, path.partition(".")[0])]
    assert any(visible(name) in said for name in names), said
    return None


@cache
def flags(name: str) -> tuple[str, ...]:
    """The flags and commands of a command."""
    module, _, function = (DOORS[name].parser or f"{DOORS[name].module}:parser").partition(":")
    waiting, found = [getattr(import_module(module), function)()], ["--", "-h", "-", "--no-such-flag", "--help=1"]
    while waiting:
        for action in waiting.pop()._actions:
            found += action.option_strings
            if isinstance(action.choices, dict):  # commands of its own
                found += action.choices
                waiting += action.choices.values()
    return tuple(dict.fromkeys(found))


NUMBERS = st.sampled_from(
    ["0", "1", "-1", "65536", "9" * 5000, "9" * 400 + "GB", "999999w", "1e999", "٣", "²", "0.1:2"]
)


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Draws a command and arguments, of which many are its own."""
    name = draw(st.sampled_from(sorted(DOORS)))
    own, word = st.sampled_from(flags(name)), st.one_of(NUMBERS, WORDS, AWKWARD)
    one = st.one_of(own.map(lambda flag: [flag]), word.map(lambda word: [word]), st.tuples(own, word).map(list))
    return name, [argument for each in draw(st.lists(one, max_size=4)) for argument in each]


def reads_only(name: str, argv: Sequence[str]) -> int:
    """Reads the arguments of a command as it does itself, and does nothing more."""
    if name == "classify" and argv[:1] not in (["predict"], ["promote"], ["rollback"]):
        parse(argv, CLASSIFY)
    elif name == "instruct" and argv[:1] not in (["answer"], ["judge"]):
        parse(argv, INSTRUCT)
    elif name == "score":
        parse_score(argv)
    else:
        door = DOORS[name]
        module, _, function = (door.parser or f"{door.module}:parser").partition(":")
        getattr(import_module(module), function)().parse_args(argv)
    return 0


@NONSENSE
@given(line=command_lines())
@example(line=("store", ["prune", "--to-size", f"{'9' * 400}GB"]))
@example(line=("serve", ["--port", "9" * 5000]))
def test_command_lines_are_read_or_refused(line: tuple[str, list[str]], capsys_of_module: Any) -> None:
    name, argv = line
    if "\x00" not in "".join(argv):  # which no system lets into one
        ends_well(lambda: exit_status_of(lambda: reads_only(name, argv)), capsys_of_module, shlex.join([name, *argv]))


@NONSENSE
@given(argv=st.lists(st.one_of(WORDS, AWKWARD), min_size=1, max_size=3).filter(lambda argv: argv[0] not in DOORS))
def test_commands_are_known_or_refused(argv: list[str], capsys_of_module: Any) -> None:
    ends_well(lambda: main(argv), capsys_of_module, shlex.join(argv))


def ends_well(work: Callable[[], int], printed: Any, line: str) -> None:
    """Status 0, or 2 and one sentence."""
    try:
        status = work()
    except SystemExit as end:  # --help
        status = int(end.code or 0)
    said = printed.readouterr().err
    assert status in (0, 2), line
    if status:
        assert said.startswith("error: "), line
        assert said.count("\n") == 1, line
        require_sentence(said.removeprefix("error: ").rstrip("\n"))


@pytest.fixture
def capsys_of_module(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """What was printed; read after every example, so it may be shared by them."""
    return capsys


# Requests


@NONSENSE
@given(
    body=st.one_of(
        VALUES, st.dictionaries(st.sampled_from(["inputs", "instances", "text", "dataframe_records"]), VALUES)
    )
)
def test_requests_are_answered_or_refused(body: Any) -> None:
    attempt(server().ask, json.dumps(body).encode())


HEADERS = st.sampled_from(
    ["Host", "Content-Length", "Content-Type", "Transfer-Encoding", "X-Request-ID", "Authorization"]
)


@NONSENSE
@given(
    first=st.tuples(
        st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS"]), st.one_of(WORDS, st.just("invocations"))
    ),
    headers=st.lists(st.tuples(HEADERS, st.one_of(WORDS, st.sampled_from(["localhost", "chunked", "2"]))), max_size=4),
    body=st.binary(max_size=20),
)
def test_headers_are_answered_or_refused(first: tuple[str, str], headers: list[tuple[str, str]], body: bytes) -> None:
    lines = [f"{first[0]} /{first[1]} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers)]
    attempt(server().ask, "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + body)
