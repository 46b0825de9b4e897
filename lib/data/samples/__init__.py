"""The bundled samples: labelled messages and entries of instructions."""

from lib.data.samples import entries, messages

FILES = {"messages": messages.ARCHIVE, "entries": entries.FILE}
