"""The real messages file, out of its archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sms_file(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SMS Spam Collection: label, tab, text."""
    with zipfile.ZipFile(real_data / "sms+spam+collection.zip") as archive:
        return Path(archive.extract("SMSSpamCollection", tmp_path_factory.mktemp("sms")))
