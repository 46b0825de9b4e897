"""The path and expected contents of the bundled sample, which assets/messages.md describes."""

from pathlib import Path

ARCHIVE = Path(__file__).resolve().parent / "assets" / "sample.zip"
MEMBER = "SMSSpamSample"
SHA256 = "4d49d39dba84af3638225cd2dbe1c447b320b439bf665e3a49dfcdbb87adb286"  # of the member
ROWS = 1500
SPAM = 195
