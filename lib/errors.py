"""Errors that the user can correct, one class for each kind of cause; the command line prints their one sentence."""

from collections.abc import Callable, Iterable, Iterator

from lib.visible import visible

MOST_NAMES = 10  # in one sentence
LONGEST_SENTENCE, LAST_WORDS = 2000, 400  # characters; of those, how many of the end, which says what to do


_before_a_cut: list[Callable[[str], str]] = [str]


def change_before_a_cut(change: Callable[[str], str]) -> None:
    """Has the words of an error changed by this function before they are cut."""
    _before_a_cut[:] = [change]


def listed(names: Iterable[str], *, most: int = MOST_NAMES) -> str:
    """Joins names for a sentence: the first `most`, and the number of others."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yields an error, and those that it came from or came during, each once."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


class FinetuneError(Exception):
    """An error that the user can correct; `str(error)` is one sentence: on one line, and of bounded length, whatever it
    quotes of a file."""

    def __str__(self) -> str:
        sentence = visible(super().__str__())
        if len(sentence) > LONGEST_SENTENCE:
            sentence = visible(_before_a_cut[-1](super().__str__()))
        if len(sentence) <= LONGEST_SENTENCE:
            return sentence
        return f"{sentence[: LONGEST_SENTENCE - LAST_WORDS - 1]}…{sentence[-LAST_WORDS:]}"


class RecipeError(FinetuneError):
    """A recipe, a flag or an override: an unknown field, a wrong type, fields that contradict each other.

    Why: a recipe is checked as a whole before its first step, so that a typing mistake costs no training; what depends
    on the data or the weights is said by the first step that knows them. A field that is not known is named with the
    nearest one; a value of the wrong kind with what it must be (`--training.epochs is 'ten', but must be a whole number
    of at least 1`); fields that contradict each other are named together.

    What to do: change the field that the sentence names, in the recipe or on the command line; a flag wins over the
    file. `--help` lists all fields with the values of the recipe that `--recipe` names, and `--explain` shows what a
    run would do without running it. Texts in YAML that begin with a special character, or are a number, `true` or
    `null`, need quotes; `2024-01-01`, `007` and `yes` do not. A recipe has at most a million characters, and nothing
    in it stands more than 32 deep.
    """


class ExtraError(FinetuneError):
    """A package that only some runs need is not installed.

    Why: some packages are large and needed by few, so they are extras: `cluster`, `judge`, `lora`, `metrics`, `onnx`,
    `postgres`, `s3`, `search`.
    A run asks for its extra before its first step.

    What to do: run the command that the sentence ends with, in the environment that runs `finetune`, or leave the field
    out that needs the extra.
    """


class SourceError(FinetuneError):
    """A file cannot be fetched or found: no such file, 404, a server that hangs or cuts the connection.

    Why: the address is wrong, the file has moved, a server wants you to sign in, or the network is not there. What may
    pass by itself (a time-out, 429, 5xx) is tried again, by the step and by a schedule; what will not is said at once.
    A cut transfer goes on where it stopped.

    What to do: open the address in a browser. If that works there and not here, look at proxies and certificates
    (`HTTPS_PROXY`, `SSL_CERT_FILE`), or fetch the file by hand and name its path. A relative path counts from the
    folder in which the command runs, and of a schedule from the worker's. Weights of a hub: `HF_TOKEN` opens private
    repositories, `HF_ENDPOINT` names a mirror, and `model.weights` takes a folder.
    """

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary  # a retry may help


class ChecksumError(FinetuneError):
    """The fetched bytes are not the expected ones.

    Why: a file whose checksum is known (`data.sha256`, weights of OpenAI and of a hub) has another one: it was damaged
    on its way or in a cache, replaced by its owner, or a server sent a page in its place.

    What to do: run again, because what is damaged is fetched anew. If it stays so, compare with the checksum that the
    owner publishes, and change `data.sha256` only if you trust the new file.
    """


class ArchiveError(FinetuneError):
    """An archive that cannot be unpacked: encrypted, damaged, several files, paths that lead elsewhere, bombs.

    Why: archives are unpacked in bounded memory, and nothing in them is trusted: a path that leads out of the folder,
    a link or a bomb is refused as a whole. What holds several data files does not say which one is meant.

    What to do: name the file with `--data.member`, or unpack the archive yourself and let `data.url` name the data
    file.
    """


class MessagesError(FinetuneError):
    """The contents: a file that is not what it seems, rows that cannot be read, a missing column, empty texts.

    Why: a row that cannot be read as it was meant would become a wrong lesson, so nothing is guessed: a quote that is
    never closed, a row with another number of fields or half a character ends the run with the line's number. At
    prediction the same class answers requests whose form is wrong, with status 400.

    What to do: look with `finetune inspect FILE` at how the file is read. Correct the lines that are named, say how the
    file is written with the fields of `data` ([recipes.md](recipes.md#data)), or have the rows left out, which a field
    allows for each kind of them and which is counted.
    """


class LabelError(FinetuneError):
    """The labels: only one class, a class too small to split, labels that do not match the classifier's.

    Why: each split needs messages of each class, a classifier needs two classes, and a later run under a registered
    name is compared with its champion, which works only with the same labels.

    What to do: look at the counts with `finetune inspect FILE`: most often the column is the wrong one, or labels are
    spelt in several ways. `data.labels` names, merges and orders classes, and rare ones can be merged or left out.
    Classes that are meant to change need another `registry.name`.
    """


class WeightsError(FinetuneError):
    """Pretrained weights and saved models: missing files, tensors missing, unexpected or of the wrong shape.

    Why: a folder does not have what transformers saves, its files are of different models, it needs code of its own,
    which is never run, or it has its tensors in a pickle, which is never opened. A saved model of this project whose
    files were changed is refused too.

    What to do: name a repository or a folder with `config.json`, `model.safetensors` and the tokenizer's files, all of
    one model. A damaged file of a hub's cache can be removed, and it is fetched again; a saved model is made again by
    its recipe, which reuses every step that is whole.
    """


class TrainingError(FinetuneError):
    """Training cannot continue: a loss that is not a finite number, or processes that are killed again and again.

    Why: the learning rate is too high for these weights, or the precision too low, so that the numbers grew without
    bound. Of several processes (`training.processes`) one that is killed is started again with the others, a few times:
    more often it would be killed again, most often because memory is exhausted.

    What to do: lower `training.learning_rate` by a factor of ten, add `training.warmup_steps`, set
    `training.gradient_clip` to 1, or use `training.precision float32`. Where processes are killed, lower
    `training.processes` or `training.batch_size`; the same command goes on from the last checkpoint.
    """


class SearchError(FinetuneError):
    """A search for values that cannot go on: its trials cannot be read or written, or are those of another search.

    Why: all that a search has tried is kept in a file of the home, or in the database that `search.storage` names. That
    server may be away or refuse the user, its database may be missing, or the disk may be full.

    What to do: start or correct what the sentence names, then give the same command again: what was tried is not tried
    again, and a training that was interrupted goes on. A search in other spaces is another search, which needs another
    name.
    """


class StoreError(FinetuneError):
    """The artifact store and other folders: no space left, no permission, an artifact that is missing or damaged.

    Why: a disk is full, a folder belongs to another user (a run as root before), or files in the store were changed by
    hand. Artifacts are checked before they are used, so damage does not reach a result. A store in a bucket may be out
    of reach, refuse the keys, or be on a server that would lose artifacts.

    What to do: free space with `finetune store prune` ([store.md](store.md)), give the folder to the user who runs, or
    let `FINETUNE_HOME` name another one. What is damaged is made again by the next run. Of a store in a bucket,
    `finetune store list` asks with what the environment says (`FINETUNE_STORE`, `AWS_…`), and says what is wrong.
    """


class ClusterError(FinetuneError):
    """A cluster that cannot compute parts: no Ray cluster there, other code on its machines, workers that die.

    Why: parts of a step are computed by other processes, or on other machines, which must have this program in the same
    version and the same packages, and must reach the files that they work on. A part whose worker dies is computed
    again, a few times; more often it would die again.

    What to do: correct what the sentence names. `cluster.workers 1` with `cluster.kind local` computes everything in
    the run's own process, with the same result; what is finished is kept in any case.
    """


class JudgeError(FinetuneError):
    """The judge of answers: no server, no such model, a refused key, a server that keeps failing.

    Why: answers are judged by a server outside of this program. The run itself has ended well by then: its model is
    registered, and only the scores are missing.

    What to do: correct what the sentence names, then ask again with `finetune instruct judge` and the flags of the run;
    answers that have a score are not asked about twice.
    """


class ServiceError(FinetuneError):
    """A server that does not answer or refuses, or a registered model that is not there.

    Why: `PREFECT_API_URL`, `MLFLOW_TRACKING_URI` or `DATABASE` name a server that is away or wants another password, a
    port is taken, or the registry has no such name, version or champion.

    What to do: unset the variable to work with local files, start what it names, or correct it. `finetune up` starts
    all of it on this machine, and the logs of its processes lie in `$FINETUNE_HOME`. Finished steps are in the store,
    so the same command goes on from there. `make ui` shows which models are registered.
    """
