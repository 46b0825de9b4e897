"""The path, checksum and size of the bundled instructions."""

from pathlib import Path

FILE = Path(__file__).resolve().parent / "assets" / "instructions.json"
SHA256 = "f4116d65c2dcc7d873e9ac21964fe30a8db370f254d71736afd66c6e69b65d2c"
ENTRIES = 200
