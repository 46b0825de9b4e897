"""Addresses whose secrets cannot leak, the references that stand for secrets, and the last look at what is printed.

A secret leaves an address where that enters the program. From then on it is an `Address`: as a text, which is all that
printing, comparing, serialising and hashing see of it, it has no secret. `revealed` gives the whole address, for the
one call that connects.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

from lib.errors import RecipeError, chain_of, change_before_a_cut

HIDDEN = "***"
SHORTEST_HIDDEN = 6  # characters
WORD = re.compile(r"[a-z]{1,11}|[A-Z]{1,11}|[A-Z][a-z]{1,10}|[0-9]{1,7}")  # what may stand in any sentence
EXAMPLE_USER = "user:password"  # as sentences show an address
SHORTEST_TOKEN = 16  # characters of a token in the place of a user's name
LONGEST_CHAIN = 20  # exceptions that led to one another

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
ONLY_REFERENCE = re.compile(rf"({REFERENCE.pattern})+")
IN_WORDS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
HOST = re.compile(r"(\[[^\]/]*\]|[^:@\s]*)(:[0-9]{0,5})?")
OBJECT_STORES = ("s3", "gs", "az", "hf")  # in whose addresses "?" and "#" are ordinary characters
WEB = ("http", "https", "file", *OBJECT_STORES)  # whose paths may hold an "@"

# The fields of a query that sign an address, by that which has the signature: S3, Google, CloudFront and the older
# forms of both, Azure. They change with each signature, and choose no file.
SIGNATURES = {
    "x-amz-signature": re.compile(r"x-amz-.*"),
    "x-goog-signature": re.compile(r"x-goog-.*"),
    "signature": re.compile(r"signature|expires|policy|key-pair-id|(aws|google)access(key)?id"),
    "sig": re.compile(r"s([eprstv]|ig|ip|pr|rt|es|dd|k[estv]|koid|ktid|cid|aoid|uoid)"),
}
# Those that are secrets by themselves, whole or as a word at the end of a name such as `access_token`.
SECRET_FIELD = re.compile(
    r"((^|.*[-_.])(token|key|secret|password|passwd|pwd|credential|jwt)|(api|access|auth|rl|resource)key|auth)s?"
)
SECRET_VARIABLE = re.compile(r"(.*_)?(TOKEN|KEY|SECRET|PASSWORD|PASSWD|PGPASSWORD|AUTH_STRING|CONNECTION_STRING)S?")

_known: set[str] = set()  # secrets that this process has met
_look_ups: list[Callable[[str], str | None]] = [os.environ.get]


class Address(str):
    """An address or a path. As a text it is what may be kept and shown: without a password, a token or a signature, and
    with references, `${NAME}`, as they were written."""

    _whole: str
    has_secret: bool  # whether one was written into it, rather than a reference to one

    def __new__(cls, written: str) -> Self:
        """Takes the secrets out of an address as it was written; leaves an `Address` as it is."""
        if isinstance(written, cls):
            return written
        shown, hidden = _parted(written)
        _known.update(_worth_hiding(hidden))
        address = super().__new__(cls, shown if hidden else written)
        address._whole, address.has_secret = written, bool(hidden)
        return address

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Leaves the secret behind: what is sent elsewhere has none."""
        return str, (str(self),)


def public(address: str) -> str:
    """Returns an address as it may be kept and shown."""
    return f"{Address(address)}"


def revealed(address: str) -> str:
    """Returns the whole address, for the code that connects: with its secrets, and what its references stand for. A
    value between `//` and `@` is percent-encoded. Raises RecipeError for a reference to nothing."""
    whole = address._whole if isinstance(address, Address) else address
    if "${" not in whole:
        return whole
    begins = SCHEME.match(whole)
    user_ends = begins.end() + len(_user_and_rest(begins[1].lower(), whole[begins.end() :])[0]) if begins else 0

    def value(found: re.Match[str]) -> str:
        secret = secret_named(found[1])
        if secret is None:
            raise RecipeError(
                f"{address} names {found[1]}, and there is neither an environment variable of that name nor a Secret"
                f" block {block_name(found[1])!r} in Prefect: set one of them"
            )
        return quote(secret, safe="") if found.start() < user_ends else secret

    full = REFERENCE.sub(value, whole)
    Address(full)  # whose own secrets are known from now on
    return full


def hidden_choice(address: str, *, signature: bool) -> str | None:
    """Returns a digest of what is not shown of an address and may choose the file behind it; None if nothing is. From
    the digest no secret can be guessed, as each guess takes scrypt's time.

    signature: also of what signs the address, and of the secrets that its references stand for, which may change while
    the file stays."""
    address = Address(address)
    written = address._whole
    hidden = [field for field, signs in _hidden_fields(written) if signature or not signs]
    if has_reference(written):
        with suppress(RecipeError):  # a reference to nothing, which the code that connects reports
            hidden.append(revealed(written) if signature else public(revealed(written)))
    if not hidden:
        return None
    of, beside = ("\n".join(hidden).encode(errors="surrogatepass"), address.encode(errors="surrogatepass"))
    return hashlib.scrypt(of, salt=beside, n=2**14, r=8, p=1, dklen=16).hex()


def public_values(values: Any) -> Any:
    """Returns nested values with every text as `public` has it."""
    if isinstance(values, dict):
        return {public_values(name): public_values(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [public_values(value) for value in values]
    return public(values) if isinstance(values, str) else values


def has_reference(address: str) -> bool:
    """Whether an environment variable or a block stands for some of the address."""
    return REFERENCE.search(address) is not None


def secret_named(name: str) -> str | None:
    """Returns the secret of this name: that of the environment, or else where `look_also` said to look."""
    for look_up in _look_ups:
        if value := look_up(name):
            _known.update(_worth_hiding([value]))
            return value
    return None


def look_also(look_up: Callable[[str], str | None]) -> None:
    """Has references looked up by this function too, which returns None for a name that it does not know."""
    if look_up not in _look_ups:
        _look_ups.append(look_up)


def block_name(name: str) -> str:
    """Returns what Prefect's Secret block for a reference is called: blocks have small letters, digits and dashes."""
    return name.lower().replace("_", "-")


def addresses_with_secrets(values: Any, path: str = "") -> Iterator[str]:
    """Yields the dotted fields of nested values that have a secret written into them."""
    if isinstance(values, Address):
        if values.has_secret:
            yield path
    elif isinstance(values, dict):
        for name, value in values.items():
            yield from addresses_with_secrets(value, f"{path}.{name}" if path else f"{name}")
    elif isinstance(values, list | tuple):
        for value in values:
            yield from addresses_with_secrets(value, path)


def redacted(text: str) -> str:
    """Takes the secrets out of the addresses in a text, and replaces those that this process knows: of addresses that
    it met, of references, and what the environment calls a token, key, secret or password. The second line of defence,
    for words of other programs."""
    text = IN_WORDS.sub(lambda found: public(found[0]), text) if "://" in text else text
    for form in sorted({form for secret in (*_known, *_of_environment()) for form in _forms(secret)}, key=len)[::-1]:
        text = text.replace(form, HIDDEN)
    return text


change_before_a_cut(redacted)  # after it nobody would know half a secret again


def redact_error(error: BaseException) -> None:
    """Replaces known secrets in the words of an exception, and of those that led to it."""
    for link in islice(chain_of(error), LONGEST_CHAIN):
        link.args = tuple(redacted(each) if isinstance(each, str) else each for each in link.args)
        for name in ("message", "detail"):  # where MLflow, and others, keep the words again
            if isinstance(words := getattr(link, name, None), str) and redacted(words) != words:
                setattr(link, name, redacted(words))


def _of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if "://" in value:
            yield from _worth_hiding(_parted(value)[1])
        elif SECRET_VARIABLE.fullmatch(name) and not _is_place(value):
            yield from _worth_hiding([value])


def _is_place(value: str) -> bool:
    """Whether a value is the path of a file with a key, rather than one that begins as a path does: one in 64 of those
    in base64."""
    path = Path(os.path.expanduser(value) if value.startswith("~") else value)  # noqa: PTH111 - raises for no "~"
    try:
        return path.is_absolute() and (path.exists() or (len(path.parents) > 1 and path.parent.is_dir()))
    except (OSError, ValueError):  # too long, or has a NUL
        return False


def _worth_hiding(secrets: Iterable[str]) -> Iterator[str]:
    return (
        secret
        for secret in secrets
        if len(secret) >= SHORTEST_HIDDEN and not WORD.fullmatch(secret) and not has_reference(secret)
    )


def _forms(secret: str) -> set[str]:
    """Returns how a secret may be written: as it is, percent-encoded or not, and inside JSON or a Python text."""
    plain = {secret, unquote(secret)}
    encoded = {quote(each, safe=safe) for each in plain for safe in ("", "/")}
    escaped = {form for each in plain for form in (json.dumps(each)[1:-1], repr(each)[1:-1])}
    return {form for form in plain | encoded | escaped if len(form) >= SHORTEST_HIDDEN}


def _parted(address: str) -> tuple[str, list[str]]:
    """Returns an address without its secrets, and these."""
    found = SCHEME.match(address)
    if found is None:
        return address, []
    scheme, rest = found[1].lower(), address[found.end() :]
    user, rest = _user_and_rest(scheme, rest)
    name, _, password = user.partition(":")
    hidden = [] if not user or user == EXAMPLE_USER or _refers(password or name) else [user, password]
    if hidden:
        hidden += re.split(r"[/?#@:]", password)  # which a client takes for other parts of the address, and quotes
    if hidden and len(name) >= SHORTEST_TOKEN:
        hidden.append(name)
    kept_user = f"{user}@" if user and not hidden else ""
    if scheme not in OBJECT_STORES:
        rest, fields = _without_fields(rest)
        hidden += fields
    return found[0] + kept_user + rest, [secret for secret in hidden if secret]


def _user_and_rest(scheme: str, rest: str) -> tuple[str, str]:
    """Splits what follows the scheme behind `user:password@` (without the "@"). Passwords of databases may hold "/" and
    "@"; a web address whose first part is no host has such a password, too."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    before_query = rest.partition("?")[0]
    if scheme not in WEB and "@" in before_query:
        at = before_query.rindex("@")
    elif "@" in authority:
        at = authority.rindex("@")
    elif "@" in rest and not HOST.fullmatch(authority):
        at = rest.rindex("@")
    else:
        return "", rest
    return rest[:at], rest[at + 1 :]


def _without_fields(rest: str) -> tuple[str, list[str]]:
    """Returns what follows the scheme without the secret fields of its query and fragment, and their values."""
    rest, mark, fragment = rest.partition("#")
    place, question, query = rest.partition("?")
    query, hidden = _without_secret_fields(query)
    fragment, more = _without_secret_fields(fragment)
    return place + (question if query else "") + query + (mark if fragment else "") + fragment, hidden + more


def _without_secret_fields(query: str) -> tuple[str, list[str]]:
    kept, hidden = [], []
    for field, shown, _ in _fields(query):
        if shown:
            kept.append(field)
        elif _is_secret(_name_of(field)):
            hidden.append(field.partition("=")[2])
    return "&".join(kept), hidden


def _hidden_fields(address: str) -> list[tuple[str, bool]]:
    """Returns the fields of a query that are not shown, each with whether it is only there to sign the address."""
    found = SCHEME.match(address)
    if found is None or found[1].lower() in OBJECT_STORES:
        return []
    _, rest = _user_and_rest(found[1].lower(), address[found.end() :])
    query = rest.partition("#")[0].partition("?")[2]
    return [(field, signs) for field, shown, signs in _fields(query) if not shown]


def _fields(query: str) -> Iterator[tuple[str, bool, bool]]:
    """Yields the fields of a query as they are written, each with whether it is shown, and whether it signs the
    address."""
    fields = query.split("&")
    signed = [
        SIGNATURES[name]
        for field in fields
        if (name := _name_of(field)) in SIGNATURES and not _refers(field.partition("=")[2])
    ]
    for field in fields:
        signs = any(signing.fullmatch(_name_of(field)) for signing in signed)
        secret = signs or (_is_secret(_name_of(field)) and not _refers(field.partition("=")[2]))
        yield field, not secret, signs


def _name_of(field: str) -> str:
    return unquote(field.partition("=")[0]).lower()


def _is_secret(name: str) -> bool:
    return name in SIGNATURES or SECRET_FIELD.fullmatch(name) is not None


def _refers(text: str) -> bool:
    return ONLY_REFERENCE.fullmatch(text) is not None
