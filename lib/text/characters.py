"""What a text may hold: no half characters."""

from lib.errors import MessagesError


def require_whole_characters(text: str, where: str, *, mend: str) -> None:
    """Raises MessagesError for half a surrogate pair: JSON allows it ("\\ud83d"), and Python puts it in place of bytes
    that are not UTF-8. `mend` says what to do."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MessagesError(
            f"{where} holds half a character (\\u{ord(text[error.start]):04x} without its pair): {mend}"
        ) from error
