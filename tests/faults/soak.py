"""Runs `finetune up` for an hour with a flow each minute, and kills its processes at random: `make soak`.

Whatever ends is started again, as systemd does; in the last third of the time nothing is killed. At the end no flow may
be lost, and what the servers hold, memory and files, is stated. Options: --minutes, --every, --kill-every, --seed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import psutil

from lib.store.folder import FolderStore
from lib.store.housekeeping import verify
from tests.faults.outcomes import RESULTS, Outcomes
from tests.support.e2e import PROJECT, Home, free_port
from tests.support.small import write_small
from tests.support.up import FINAL, Up
from tests.support.whole import left_over, processes_of

ADHOC = "finetune-classifier/classify-adhoc"
KEPT = ("store", "mlflow.db", "mlartifacts", "prefect", "reports")  # what grows with every run, in the home
FILES = ": files"
NEW_EVERY = 5  # flows, of which one trains and the others find all they need
ATTACKED = 2 / 3  # of the time; then servers live long enough to tell whether what they hold grows
START_SECONDS = 300.0  # for `finetune up` to be ready again
REST_SECONDS = 900.0  # for the flows that are under way at the end
AWAY = (httpx.HTTPError, AssertionError)  # while a server is away
# What is killed: a part of its command line.
KINDS = {"Prefect": "prefect server", "MLflow": "mlflow server", "worker": "prefect worker", "finetune up": "flows.up"}


@dataclass
class Asked:
    """A flow that somebody wants. tries: how often it was begun, because its process or its server was killed."""

    rate: float
    since: float
    run: str = ""
    tries: int = 0
    seconds: float | None = None  # from the wish to its completion
    last: str = ""


@dataclass
class Sample:
    """What a server held at a moment. life: which of its processes, since there was one after each kill."""

    at: float
    kind: str
    life: int
    megabytes: float
    open_files: int


@dataclass
class Soak:
    """The program under attack, and what was seen of it."""

    home: Home
    draw: random.Random
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)  # seconds until it was ready
    asked: list[Asked] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    files: list[Counter[str]] = field(default_factory=list)  # bytes of the home by its folders

    @property
    def up(self) -> Up:
        assert self.process is not None
        prefect, mlflow = (f"http://127.0.0.1:{port}" for port in self.ports)
        return Up(self.home, self.process, f"{prefect}/api", mlflow, "")  # type: ignore[arg-type] # reads no text

    # -- the operator --

    def keep_up(self) -> None:
        """Starts `finetune up` where it does not run, and waits until it is ready."""
        if self.process is not None and self.process.poll() is None:
            return
        started = time.monotonic()
        arguments = [f"--prefect-port={self.ports[0]}", f"--mlflow-port={self.ports[1]}"]
        with (self.home.folder.parent / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.home.command(*arguments, module="flows.up"),
                cwd=PROJECT,
                env=self.home.env(),
                stdout=subprocess.PIPE,
                stderr=log,
            )
            assert self.process.stdout is not None
            for line in self.process.stdout:
                log.write(line)
                if line.startswith(b"ready"):
                    self.starts.append(time.monotonic() - started)
                    return
        if time.monotonic() - started > START_SECONDS:
            raise TimeoutError("`finetune up` does not come up again")

    # -- the users --

    def want(self) -> None:
        """One more flow; every few of them trains something new."""
        number = len(self.asked)
        self.asked.append(Asked(rate=0.001 * (1 + number // NEW_EVERY / 100), since=time.monotonic()))
        self.submit(self.asked[-1])

    def submit(self, flow: Asked) -> None:
        changes = {"url": str(self.home.data), "epochs": 4, "learning_rate": flow.rate, "registered_name": "soak"}
        changes["overrides"] = "training:\n  batch_size: 16\n  evaluate_every: 5\n  checkpoint_every: 20\n"
        parameters = {"recipe": str(PROJECT / "tests" / "support" / "quick.yaml"), "changes": changes}
        with suppress(*AWAY):
            flow.run = self.up.start(ADHOC, parameters)
            flow.tries += 1

    def look(self) -> None:
        """Looks how the flows are; one that was killed is begun again, as a person does."""
        for flow in self.asked:
            if flow.seconds is not None:
                continue
            if not flow.run:
                self.submit(flow)
                continue
            with suppress(*AWAY):
                flow.last = self.up.flow_run(flow.run)["state_type"]
                if flow.last == "COMPLETED":
                    flow.seconds = time.monotonic() - flow.since
                elif flow.last in FINAL:
                    flow.run = ""

    # -- the attacker --

    def kill(self) -> None:
        """Kills one of the processes, or a run that is under way."""
        targets = [*self._servers(), *(("a run", run) for run in self._runs())]
        if targets:
            kind, victim = self.draw.choice(targets)
            with suppress(psutil.NoSuchProcess):
                victim.kill()
                self.kills[kind] += 1

    def _servers(self) -> Iterator[tuple[str, psutil.Process]]:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                line = " ".join(process.cmdline())
                kind = next((kind for kind, words in KINDS.items() if words in line), None)
                if kind:
                    yield kind, process

    def _family(self) -> list[psutil.Process]:
        """`finetune up` and the servers that it started itself."""
        assert self.process is not None
        try:
            own = psutil.Process(self.process.pid)
            return [own, *own.children()]
        except psutil.NoSuchProcess:
            return []

    def _runs(self) -> list[psutil.Process]:
        workers = [process for kind, process in self._servers() if kind == "worker"]
        with suppress(psutil.NoSuchProcess):
            return [child for worker in workers for child in worker.children()]
        return []

    # -- the observer --

    def sample(self, at: float) -> None:
        """Notes memory and open files of each server, and the sizes of the home's folders."""
        for kind, process in self._servers():
            with suppress(psutil.NoSuchProcess):
                # Runs are children of the worker, and not part of what it holds.
                family = [process, *(process.children(recursive=True) if kind in ("Prefect", "MLflow") else [])]
                held = sum(each.memory_info().rss for each in family) / 1e6
                self.samples.append(Sample(at, kind, process.pid, held, sum(each.num_fds() for each in family)))
        sizes: Counter[str] = Counter()
        for path in self.home.folder.rglob("*"):
            with suppress(OSError):
                top = path.relative_to(self.home.folder).parts[0]
                if path.is_file():
                    name = top if top in KEPT else "logs" if top.endswith(".log") else "all else"
                    sizes[name] += path.stat().st_size
                    sizes[name + FILES] += 1
        self.files.append(sizes)


def growth(samples: list[Sample], kind: str) -> str:
    """What the longest life of a server held at its beginning, once it had served a little, and at its end."""
    lives = [[s for s in samples if s.life == life] for life in {s.life for s in samples if s.kind == kind}]
    longest = max(lives, key=len)
    first, last = longest[len(longest) // 4], longest[-1]
    held = f"{first.megabytes:.0f} to {last.megabytes:.0f} MB, {first.open_files} to {last.open_files} open files"
    most = max(sample.megabytes for sample in samples if sample.kind == kind)
    return f"{held} in the {(last.at - first.at) / 60:.0f} minutes of its longest life; at most {most:.0f} MB"


def soak(home: Home, *, minutes: float, every: float, kill_every: float, seed: int) -> tuple[Soak, list[str]]:
    """Runs it all; returns what was seen, and a sentence for whatever was lost."""
    running = Soak(home, random.Random(seed))
    running.keep_up()
    began = time.monotonic()
    due = {"flow": 0.0, "kill": kill_every, "sample": 0.0}
    while (at := time.monotonic() - began) < 60 * minutes:
        running.keep_up()
        if at >= due["flow"]:
            running.want()
            due["flow"] += every
        if at >= due["sample"]:
            running.sample(at)
            due["sample"] += 60
        if at >= due["kill"] and at < ATTACKED * 60 * minutes:
            running.kill()
            due["kill"] = at + running.draw.uniform(0.5, 1.5) * kill_every
        running.look()
        time.sleep(1)
    ends = time.monotonic() + REST_SECONDS
    while any(flow.seconds is None for flow in running.asked) and time.monotonic() < ends:
        running.keep_up()
        running.look()
        time.sleep(2)
    running.sample(time.monotonic() - began)
    return running, list(_lost(running))


def _lost(running: Soak) -> Iterator[str]:
    """What a person would miss at the end."""
    for number, flow in enumerate(running.asked):
        if flow.seconds is None:
            yield f"flow {number} never completed: {flow.last or 'never begun'} after {flow.tries} tries"
    assert running.process is not None
    running.process.send_signal(signal.SIGTERM)
    status = running.process.wait(90)
    if status:
        yield f"`finetune up` ended with status {status}"
    yield from (f"process {pid} is there" for pid in processes_of(running.home.folder))
    store = FolderStore(running.home.folder / "store")
    yield from (f"{damage.step}/{damage.key} is damaged: {damage.problems}" for damage in verify(store))
    with tempfile.TemporaryDirectory() as nowhere:
        yield from left_over(running.home.folder, Path(nowhere))


def note(running: Soak, lost: list[str], outcomes: Outcomes, *, minutes: float, seed: int) -> None:
    """Keeps what was seen."""
    for flow in running.asked:
        kind = "killed" if flow.tries > 1 else "not killed"
        outcomes.note(
            f"a flow that was {kind}", flow.seconds is not None, lost="it never completed", seconds=flow.seconds
        )
    for sentence in lost:
        outcomes.note("what is left at the end", False, lost=sentence)
    if not lost:
        outcomes.note("what is left at the end", True)
    outcomes.state("seed", f"{seed}")
    outcomes.state("duration", f"{minutes:g} minutes, {len(running.asked)} flows; kills in the first {ATTACKED:.0%}")
    killed = ", ".join(f"{kind} {count} times" for kind, count in sorted(running.kills.items()))
    outcomes.state("killed", killed or "nothing")
    outcomes.state(
        "`finetune up` until it was ready again",
        f"{median(running.starts):.0f} s, at worst {max(running.starts):.0f} s, {len(running.starts)} starts",
    )
    for kind in KINDS:
        if any(sample.kind == kind for sample in running.samples):
            outcomes.state(f"{kind} held", growth(running.samples, kind))
    half, flows = len(running.files) // 2, len(running.asked)
    middle, end = running.files[half], running.files[-1]
    for name in sorted(name for name in end if not name.endswith(FILES)):
        sizes = f"{middle[name] / 1e6:.1f} to {end[name] / 1e6:.1f} MB"
        counts = f"{middle[name + FILES]} to {end[name + FILES]} files"
        outcomes.state(f"`{name}` from the middle to the end of {flows} flows", f"{sizes}, {counts}")


def main() -> int:
    """Runs it in a folder of its own; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("minutes", 60.0), ("every", 60.0), ("kill-every", 120.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory(prefix="finetune-soak-") as folder:
        # No schedule begins a flow: that of the night fetches messages from a site that may be out of reach.
        unscheduled = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
        home = Home(Path(folder) / "home", write_small(Path(folder) / "small.csv"), unscheduled)
        home.folder.mkdir()
        running, lost = soak(
            home, minutes=options.minutes, every=options.every, kill_every=options.kill_every, seed=options.seed
        )
        outcomes = Outcomes("soak", "`finetune up` with a flow each minute, its processes killed at random.")
        note(running, lost, outcomes, minutes=options.minutes, seed=options.seed)
        outcomes.save(RESULTS)
        print("\n".join([*lost, *(f"{what}: {figure}" for what, figure in outcomes.facts.items())]))  # noqa: T201
        if lost:
            print((Path(folder) / "up.log").read_text(encoding="utf-8")[-5000:])  # noqa: T201
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
