"""Where the bundled sample is and what it must contain; assets/README.md says what it is. No work is done here."""

from pathlib import Path

ARCHIVE = Path(__file__).resolve().parent / "assets" / "sample.zip"
MEMBER = "SMSSpamSample"
SHA256 = ""  # of the member
ROWS = 1500
SPAM = 195
