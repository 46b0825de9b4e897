"""Which of the labels the figures are about. Apart from the figures, so that a step can refuse a wrong one early."""

from lib.errors import LabelError


def positive_class(labels: tuple[str, ...], wanted: str | None) -> str | None:
    """Of two classes, the one that precision and recall are about: `wanted`, or the last one; None for more classes.

    Raises LabelError where `wanted` is not a label, or where there are more than two classes to be positive among.
    """
    if wanted is None:
        return labels[-1] if len(labels) == 2 else None
    if wanted not in labels:
        raise LabelError(f"evaluation.positive_label is {wanted!r}, but the labels are {', '.join(labels)}: name one")
    if len(labels) > 2:
        raise LabelError(
            f"evaluation.positive_label is {wanted!r}, but with {len(labels)} classes the figures are averages over"
            " all of them: leave it out"
        )
    return wanted
