"""The benchmarks compare like with like, and leave behind what they promise. How fast anything is, nobody asks here."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from benchmarks import growth, report, scoring, storing, tokenizing
from benchmarks.__main__ import GROUPS, main, not_installed
from benchmarks.features import floor_operations
from benchmarks.harness import DifferentResultsError, Measured, ratio_row, require_same
from benchmarks.load import load
from benchmarks.workload import PROJECT, Amounts, Bench, load_workload, make_bench
from lib.model.gpt2.sizes import GPTConfig

pytestmark = pytest.mark.slow

SHAPE = GPTConfig(context_length=256, emb_dim=16, n_heads=2, n_layers=3)
MEASURED = ("finetuning", "prediction", "tokenizing", "features")


@pytest.fixture(scope="module")
def no_real_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Wherever the tests run, they use the bundled sample."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_REAL_DATA", str(tmp_path_factory.mktemp("nothing")))
        yield patch


@pytest.fixture(scope="module")
def bench(no_real_data: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A handful of messages and a tiny shape."""
    return replace(make_bench(None, tmp_path_factory.mktemp("bench"), device="cpu", quick=True), config=SHAPE)


def test_the_tokenizer_of_transformers_has_our_tokens(bench: Bench) -> None:
    pytest.importorskip("transformers")
    from benchmarks.hugging_face import tokenizer

    split = bench.workload.messages
    texts = [*split.texts, "It's 5  o'clock:\t£1.50 \n\n naïve 😀", "<|endoftext"]
    encoded = tokenizer(bench.workload.width)(texts, truncation=True)["input_ids"]
    assert encoded[: len(split.tokens)] == split.tokens
    assert "all tokens of 2 texts are equal" in tokenizing.tokens_are_the_same(texts[-2:])


@pytest.mark.parametrize("other", [1.001, math.nan, math.inf])
def test_sides_that_compute_different_things_are_not_compared(other: float) -> None:
    assert require_same("numbers", torch.ones(2), torch.tensor([1.0, 1.00001])) == "numbers differ by at most 1e-05"
    with pytest.raises(DifferentResultsError, match="numbers differ by"):
        require_same("numbers", torch.ones(2), torch.tensor([1.0, other]))


def test_a_ratio_above_one_means_that_ours_is_faster() -> None:
    seconds = ratio_row("g", "w", Measured("ours", 2, "s"), Measured("other", 8, "s"), at_least=4)
    rate = ratio_row("g", "w", Measured("ours", 8, "rows/s"), Measured("other", 2, "rows/s"), at_least=5)
    assert (seconds.ratio, rate.ratio) == (4, 4)
    assert seconds.target is not None
    assert rate.target is not None
    assert (seconds.target.reached, rate.target.reached) == (True, False)
    with pytest.raises(ValueError, match="cannot be compared"):
        ratio_row("g", "w", Measured("ours", 2, "s"), Measured("other", 8, "rows/s"))


def test_the_floor_counts_what_a_block_must_multiply() -> None:
    # One token: four matrices of 12 d^2 weights together; attention sees one pair, scored and mixed.
    assert floor_operations(SHAPE, [1], blocks=1) == 24 * 16**2 + 4 * 16
    # Three tokens see 1 + 2 + 3 pairs.
    assert floor_operations(SHAPE, [3, 1], blocks=2) == 2 * (4 * 24 * 16**2 + 7 * 4 * 16)


def test_the_published_amounts() -> None:
    assert Amounts().steps(1045) == 650
    assert Amounts().evaluations(1045) == 13 + 5


@pytest.mark.data
def test_the_real_data_is_what_the_published_procedure_makes_of_it(real_data: Path, tmp_path: Path) -> None:
    workload = load_workload(real_data, tmp_path)  # counts are asserted there
    assert (workload.width, len(workload.texts)) == (120, 5572)
    operations = floor_operations(GPTConfig(), [len(tokens) for tokens in workload.messages.tokens], blocks=11)
    assert 7.1e12 < operations < 7.2e12


@pytest.mark.parametrize("job", growth.JOBS)
def test_growth_does_each_job_on_as_many_messages_as_asked(job: str, bench: Bench, tmp_path: Path) -> None:
    texts = bench.workload.messages.texts[:4]
    source = tmp_path / "texts.json"
    source.write_text(json.dumps(texts), encoding="utf-8")
    result = growth.measure(job, 10, len(texts), source, "cpu")
    assert set(result) == {"seconds", "peak_bytes"}
    assert result["peak_bytes"] > 50e6  # torch alone is more


@pytest.mark.parametrize("job", scoring.JOBS)
def test_scoring_does_each_job_on_as_many_messages_as_asked(job: str, bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "texts.json"
    source.write_text(json.dumps(bench.workload.messages.texts[:8]), encoding="utf-8")
    result = scoring.measure(job, 20, source, "cpu")  # which checks that every message was scored
    assert set(result) == {"seconds", "peak_bytes"}


@pytest.mark.parametrize("side", storing.SIDES)
def test_storing_gets_what_it_put_on_each_side(side: str, seaweedfs_server: str, tmp_path: Path) -> None:
    source = tmp_path / "artifact"
    source.mkdir()
    for number in range(2):
        (source / f"{number}").write_bytes(bytes([number]) * 1000)
    with patch.dict(os.environ):
        result = storing.measure(side, seaweedfs_server, source, 1)  # which compares the bytes
    assert set(result) == {"put", "got", "peak_bytes"}


def test_growth_repeats_texts_with_their_words_in_another_order() -> None:
    texts = ["a b c d e f g h", "one"]
    endless = growth.texts_without_end(texts)
    first, again = [[next(endless) for _ in texts] for _ in range(2)]
    assert first == texts
    assert again != texts
    assert [sorted(text.split()) for text in again] == [sorted(text.split()) for text in texts]


@pytest.fixture(scope="module")
def finished(no_real_data: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick run of all rows that need `lib` alone and no other process."""
    folder = tmp_path_factory.mktemp("results")
    assert main(["--quick", "--device", "cpu", "--output", str(folder), *MEASURED]) == 0
    return folder


def test_a_run_writes_every_row_with_both_sides(finished: Path) -> None:
    (file,) = finished.glob("*.json")
    results = json.loads(file.read_text(encoding="utf-8"))
    assert results["machine"]["cores"] >= 1
    assert results["machine"]["torch_threads"] == 1  # the model of a quick run is narrow
    assert "bundled sample" in results["setting"]["data"]
    assert [group for group in GROUPS if group in {row["group"] for row in results["rows"]}] == list(MEASURED)
    for row in results["rows"]:
        ours, other = row["ours"]["amount"], row["other"]["amount"]
        faster = ours / other if row["ours"]["unit"].endswith("/s") or row["better"] == "lower" else other / ours
        assert row["ratio"] == pytest.approx(faster)
        assert row["target"] is None  # targets are for the whole amount
    # What was compared before anything was timed: each other side of training and prediction, and all tokens.
    compared = {(row["group"], row["what"].rpartition(", against ")[2]): row["same"] for row in results["rows"]}
    assert compared.keys() >= {
        ("finetuning", "the padded loop"),
        ("finetuning", "the Trainer"),
        ("prediction", "one text at a time"),
        ("prediction", "a pipeline"),
    }
    for (group, _), same in compared.items():
        assert {"tokenizing": "all tokens of ", "features": ""}.get(group, "differ by at most") in same


def test_a_run_draws_a_picture(finished: Path) -> None:
    assert (finished / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_prints_what_was_measured_and_on_what(
    finished: Path, no_real_data: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--device", "cpu", "--output", str(finished), "tokenizing"]) == 0
    printed = " ".join(capfd.readouterr().out.split())
    assert "the bundled sample" in printed
    assert "encode_ordinary_batch" in printed
    assert "all tokens of 200 texts are equal" in printed
    (file,) = finished.glob("*.json")
    assert {row["group"] for row in json.loads(file.read_text())["rows"]} == set(MEASURED)  # the others stay


def test_rows_of_another_machine_are_not_kept(tmp_path: Path) -> None:
    rows = [{"group": "features"}, {"group": "finetuning"}]
    old = {"machine": {"cores": 2}, "setting": {}, "rows": rows}
    file = tmp_path / "cpu-2-cores.json"
    report.write_results(old, file)
    new: dict[str, Any] = {**old, "rows": [{"group": "features", "ratio": 2}]}
    assert report.merged(new, file, list(GROUPS))["rows"] == [
        {"group": "finetuning"},
        {"group": "features", "ratio": 2},
    ]
    elsewhere = {**new, "machine": {"cores": 4}}
    assert report.merged(elsewhere, file, list(GROUPS)) == elsewhere


def test_another_processor_has_files_of_its_own(tmp_path: Path) -> None:
    one, other = ({"cores": 2, "processor": name} for name in ("Fast One avx512f", "Slow One avx2"))
    file = report.result_file(tmp_path, one)
    report.write_results({"machine": one, "setting": {}, "rows": []}, file)
    beside = report.result_file(tmp_path, other)
    assert [file.name, beside.name] == ["cpu-2-cores.json", "cpu-2-cores-slow-one-avx2.json"]
    assert report.result_file(tmp_path, one) == file
    pictures = [report.picture_file(tmp_path, each).name for each in (file, beside)]
    assert pictures == ["benchmarks.png", "benchmarks-cpu-2-cores-slow-one-avx2.png"]


def test_the_load_tests_clients_share_the_requests_and_count_each_failure() -> None:
    asked: list[Any] = []

    class EveryThirdFails(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if len(asked) % 3 == 0 else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), EveryThirdFails) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        measured = asyncio.run(load(address, clients=4, requests=30, texts=["a", "b"]))
        server.shutdown()
    assert sorted(question["inputs"] for question in asked) == [["a"]] * 15 + [["b"]] * 15
    assert len(measured["milliseconds"]) == 30
    assert len(measured["failed"]) == 10
    assert measured["failed"][0].startswith("500")


def test_data_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--data", str(tmp_path / "nothing.zip")]) == 2
    assert "nothing.zip does not exist" in " ".join(capsys.readouterr().err.split())


def test_rows_whose_packages_are_missing_are_known() -> None:
    assert not_installed(("json", "no_such_package")) == ["no_such_package"]
    assert GROUPS["cached_flow"] == ("prefect", "mlflow")


def test_most_rows_need_lib_alone() -> None:
    modules = ", ".join(f"benchmarks.{name}" for name in (*MEASURED, "growth", "__main__"))
    code = (
        f"import sys, {modules}\nprint(sorted({{'prefect', 'mlflow', 'pydantic', 'transformers'}} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_the_pages_tables_are_those_of_the_results() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.page_with_tables(page, report.RESULTS) == page, "run `python -m benchmarks.report`"
    with pytest.raises(ValueError, match="needs the lines"):
        report.page_with_tables("# Performance\n", report.RESULTS)
