"""Writes the tables: what is predicted beside what was measured, and what a run of another size would be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.scale.case import FED, Case
from benchmarks.scale.limits import GB, evaluation_seconds, limits
from benchmarks.scale.measured import CARD, Fact, Measured, card_flops, read
from benchmarks.scale.network import backbone
from benchmarks.scale.storage import artifacts, checkpoint_bytes
from benchmarks.volume import MEASURED
from benchmarks.workload import PROJECT

PAGE = PROJECT / "docs" / "scale.md"
SIZES = (10**6, 10**7, 10**8, 10**9)
PAPER = Case(workers=16)  # of the page
TOKENS = 40  # of a message of benchmarks.volume
Rows = Iterable[Sequence[str]]


def predictions(measured: Measured, sizes: Sequence[int]) -> Mapping[int, Mapping[str, tuple[float, float]]]:
    """Returns for each of these sizes what was measured there, and what the others predict: seconds of the processor of
    all steps, bytes of all artifacts, and the highest peak of memory; each only if it is
    known."""
    found: dict[int, dict[str, tuple[float, float]]] = {}
    for size in sizes:
        others = measured.without(size)

        def both(
            fact: Fact,
            steps: Sequence[str],
            join: Callable[[Iterable[float]], float],
            size: int = size,
            others: Measured = others,
        ) -> tuple[float, float] | None:
            known = [step for step in steps if size in measured.known(step, fact) and len(others.known(step, fact)) > 1]
            if not known:
                return None
            return (
                join(measured.runs[size][step][fact] for step in known),
                join(others.predicted(step, fact, size) for step in known),
            )

        facts = {
            "seconds": both("processor", MEASURED, sum),
            "bytes": both("size", MEASURED, sum),
            "peak": both("anonymous", MEASURED, max),
        }
        found[size] = {name: pair for name, pair in facts.items() if pair is not None}
    return found


def tables(case: Case, measured: Measured, kind: str = CARD) -> dict[str, str]:
    """Returns each table of docs/scale.md by its name, for this case. kind: of a measured card."""
    card = card_flops(kind)
    return {
        "prediction": _prediction(measured),
        "artifacts": _artifacts(case),
        "network": _network(case, card),
        "steps": _steps(measured),
        "machines": _machines(case, measured, card),
        "limits": _limits(case, measured),
    }


def _prediction(measured: Measured) -> str:
    sizes = [size for size in measured.sizes if size >= 10_000]
    found = predictions(measured, sizes)
    shown = {"seconds": _seconds, "bytes": _bytes, "peak": _bytes}
    rows = []
    for name, say in shown.items():
        cells = []
        for size in sizes:
            pair = found[size].get(name)
            cells.append("" if pair is None else f"{say(pair[0])}<br>{say(pair[1])} ({pair[1] / pair[0] - 1:+.0%})")
        rows.append([name, *cells])
    return _table(["measured<br>predicted by the others", *(_count(size) for size in sizes)], rows)


def _artifacts(case: Case) -> str:
    prices, rows = case.prices, []
    kept = artifacts(case)
    for each in kept:
        rows.append(
            [
                each.name,
                f"{each.each:,.0f}" if each.each else "",
                _bytes(each.size),
                _count(each.files),
                _count(each.writes),
                _count(each.reads),
                _money(each.writes * prices.put + each.reads * prices.get),
                _money(each.size / GB * prices.stored),
            ]
        )
    without = [each for each in kept if each.name != "features"]
    rows.append(
        [
            "all but features",
            f"{sum(each.each for each in without):,.0f}",
            _bytes(sum(each.size for each in without)),
            _count(sum(each.files for each in without)),
            _count(sum(each.writes for each in without)),
            _count(sum(each.reads for each in without)),
            _money(sum(each.writes * prices.put + each.reads * prices.get for each in without)),
            _money(sum(each.size for each in without) / GB * prices.stored),
        ]
    )
    head = ["artifact", "bytes of a message", "size", "files", "requests to send it", "to fetch it once", "both cost"]
    return _table([*head, "a month of it"], rows)


def _network(case: Case, card: tuple[str, float]) -> str:
    name, flops = card
    rate = case.machine.utilisation * flops
    rows = []
    for each in dict.fromkeys(("tiny", case.network.name)):
        net = backbone(each)
        work = {
            "features, all messages once": (net.features(case.tokens), case.messages),
            "full fine-tuning, an epoch": (net.training(case.tokens), case.train * case.messages),
            "predictions, all messages once": (net.forward(case.tokens), case.messages),
        }
        for what, (token, messages) in work.items():
            total = token * case.tokens * messages
            hours = max(total / rate, messages / FED) / 3600
            rows.append(
                [
                    f"{each}: {what}",
                    f"{token / 1e6:,.1f} MFLOP",
                    f"{total:.2g} FLOP",
                    f"{total / flops / 3600:,.1f} h",
                    f"{hours:,.1f} h",
                    f"{hours / case.workers / case.machine.cards:,.1f} h",
                    _money(hours * case.prices.card),
                ]
            )
    cards = case.workers * case.machine.cards
    return _table(
        [
            "",
            "a token",
            "all",
            f"{name} at its fastest product",
            f"at {case.machine.utilisation:.0%} of it",
            f"{cards:,} of them",
            "cost",
        ],
        rows,
    )


def _steps(measured: Measured) -> str:
    rows = []
    for step in MEASURED:
        if len(measured.known(step, "processor")) < 2:
            continue
        cells = [
            f"{_seconds(measured.predicted(step, 'processor', size))}<br>"
            f"{_bytes(measured.predicted(step, 'anonymous', size))}"
            for size in SIZES
        ]
        rows.append([step, *cells])
    return _table(["step", *(_count(size) for size in SIZES)], rows)


def _machines(case: Case, measured: Measured, card: tuple[str, float]) -> str:
    """What a run takes: tables on cores, the network on cards, and bytes between machines and the storage."""
    kept = {each.name: each.size for each in artifacts(case, features=False)}
    net, every, rate = case.network, case.messages, case.machine.utilisation * card[1]

    def cores(what: str, each: float, artifact: str, *, parts: bool = False) -> _Work:
        return _Work(what, "core", each * every, kept[artifact], parts)

    def cards(what: str, token: float, messages: float) -> _Work:
        seconds = max(token * case.tokens * messages / rate, messages / FED)
        return _Work(what, "card", seconds, kept["tokenize"], parts=True)

    tokenized = measured.each("tokenize", "processor") * case.tokens / TOKENS
    works = [
        cores("messages: parsed, normalised, hashed", measured.each("messages", "processor"), "messages"),
        cores("split: placed by their hash", measured.each("split", "processor"), "split"),
        cores("tokenize", tokenized, "tokenize", parts=True),
        cards("finetune, all layers, an epoch", net.training(case.tokens), case.train * every),
        cards("predictions of all splits", net.forward(case.tokens), every),
        cores("evaluate: figures, slices, baseline, profile", evaluation_seconds(case, measured), "evaluate"),
        cores("publish", measured.each("publish", "processor"), "evaluate"),
    ]
    rows = []
    for work in works:
        times = [work.hours(case, machines) for machines in (1, case.workers)]
        price = case.prices.card if work.of == "card" else case.prices.core
        rows.append(
            [
                work.what,
                f"{work.seconds / 3600:,.1f} h of a {work.of}",
                "parts" if work.parts else "one process",
                *(f"{hours:,.2f} h" for hours in times),
                _bytes(work.carried),
                _money(work.seconds / 3600 * price),
            ]
        )
    head = ["", "work", "spread over", "1 machine", f"{case.workers:,} machines", "carried", "cost"]
    return _table(head, rows)


@dataclass(frozen=True)
class _Work:
    """Seconds of a core or card, and bytes that are carried; parts: whether several machines share it."""

    what: str
    of: Literal["core", "card"]
    seconds: float
    carried: float
    parts: bool

    def hours(self, case: Case, machines: int) -> float:
        """The longer one of computing and carrying."""
        machine = case.machine
        each = machine.cards if self.of == "card" else machine.cores
        share = machines if self.parts else 1
        computed = self.seconds / (share * each if self.parts else 1)
        return max(computed, self.carried / GB / machine.network / share) / 3600


def _limits(case: Case, measured: Measured) -> str:
    rows = [[_short(each.messages), each.what, each.because, each.then] for each in limits(case, measured)]
    return _table(["messages", "what", "because", "then"], rows)


def shuffle(case: Case) -> str:
    """A sentence on what an epoch reads in random order."""
    rows = case.train * case.messages
    size = rows * (20 + 4 * case.tokens)
    return (
        f"An epoch reads {_bytes(size)} of tokens in random order. Where that does not fit in memory, it is"
        f" {_short(rows)} reads of a page: {rows / case.machine.reads / 3600:,.1f} hours at {case.machine.reads:,.0f} a"
        f" second, and a checkpoint has {_bytes(checkpoint_bytes(case))}."
    )


def page_with_tables(page: str, found: Mapping[str, str]) -> str:
    """Returns a page with these tables in their places; raises ValueError if it has no place for one."""
    for name, table in found.items():
        begin, end = f"<!-- scale, {name}: made by python -m benchmarks.scale --write -->", f"<!-- end of {name} -->"
        before, found_begin, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_begin or not found_end:
            raise ValueError(f"{PAGE} needs the lines {begin} and {end}")
        page = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return page


def write_page() -> None:
    """Writes the tables of docs/scale.md from what is stored."""
    page = page_with_tables(PAGE.read_text(encoding="utf-8"), everything(PAPER, read()))
    PAGE.write_text(page, encoding="utf-8")


def everything(case: Case, measured: Measured, kind: str = CARD) -> dict[str, str]:
    """All that the page has of a case."""
    return {**tables(case, measured, kind), "shuffle": shuffle(case)}


def _table(head: Sequence[str], rows: Rows) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:,.3g} {name}" if size < 1000 * unit else f"{size / unit:,.0f} {name}"
    return f"{size:,.0f} bytes"


def _seconds(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.1f} s"


def _count(number: float) -> str:
    return f"{round(number):,}"


def _short(number: float) -> str:
    for unit, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= unit:
            return f"{number / unit:,.3g} {name}"
    return f"{float(f'{number:.2g}'):,.0f}"


def _money(dollars: float) -> str:
    return f"${dollars:,.2f}" if dollars < 100 else f"${dollars:,.0f}"
