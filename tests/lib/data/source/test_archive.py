"""Archives as they come from anywhere: honest, odd, broken and hostile ones."""

import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lib.data.source.archive import RATIO_FREE_BYTES, is_zip, safe_name, unpacked
from lib.errors import ArchiveError

TEXT = "ham\tsee you at seven\nspam\tYOU WON £1000, call now\n".encode() * 50


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return packed.getvalue()


def unpack(packed: bytes, name: str = "sms.zip", **wanted: Any) -> tuple[str, bytes]:
    found, chunks = unpacked(io.BytesIO(packed), name, **wanted)
    return found, b"".join(chunks)


def entry_of_kind(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3  # Unix: the upper half of external_attr is st_mode
    info.external_attr = (kind | 0o644) << 16
    return info


# What is inside


def test_a_plain_file_is_itself() -> None:
    assert unpack(TEXT, "messages.tsv") == ("messages.tsv", TEXT)


def test_an_empty_file_is_plain_and_empty() -> None:
    assert unpack(b"", "messages.tsv") == ("messages.tsv", b"")


def test_parquet_is_plain() -> None:
    assert unpack(b"PAR1" + TEXT + b"PAR1", "messages.parquet") == (
        "messages.parquet",
        b"PAR1" + TEXT + b"PAR1",
    )


@pytest.mark.parametrize("name", ["messages.tsv.gz", "messages.tsv.GZ", "messages.tsv.gzip", "messages.tsv"])
def test_gzip_is_recognised_by_its_bytes_and_loses_its_ending(name: str) -> None:
    assert unpack(gzip.compress(TEXT), name) == ("messages.tsv", TEXT)


def test_several_gzip_members_are_one_file() -> None:
    assert unpack(gzip.compress(TEXT) + gzip.compress(TEXT), "a.tsv.gz") == ("a.tsv", TEXT + TEXT)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", ["sms.zip", "download", "sms.tsv"])
def test_zip_is_recognised_by_its_bytes(name: str, method: int) -> None:
    assert unpack(zipped(("SMSSpamCollection", TEXT), method=method), name) == ("SMSSpamCollection", TEXT)


def test_is_zip_looks_at_the_bytes_from_the_beginning() -> None:
    source = io.BytesIO(zipped(("a", b"a")))
    source.seek(7)
    assert is_zip(source)
    assert source.tell() == 0
    assert not is_zip(io.BytesIO(TEXT))


def test_chunks_are_small_and_complete() -> None:
    noise = random.Random(0).randbytes(3 * 2**20 + 5)
    for packed in (noise, gzip.compress(noise, 1), zipped(("noise", noise))):
        _, chunks = unpacked(io.BytesIO(packed), "noise")
        sizes = [len(chunk) for chunk in chunks]
        assert max(sizes) <= 2**20
        assert sum(sizes) == len(noise)


# Which member


def test_the_only_file_is_taken_whatever_surrounds_it() -> None:
    packed = zipped(("data/", b""), ("data/sms.tsv", TEXT), ("__MACOSX/data/._sms.tsv", b"x"), ("data/.DS_Store", b"x"))
    assert unpack(packed) == ("sms.tsv", TEXT)


@pytest.mark.parametrize("readme", ["readme", "README.md", "data/ReadMe.txt", "LICENSE"])
def test_a_readme_beside_one_file_is_not_the_data(readme: str) -> None:
    assert unpack(zipped((readme, b"read me"), ("sms.tsv", TEXT))) == ("sms.tsv", TEXT)


def test_a_readme_alone_is_the_data() -> None:
    assert unpack(zipped(("readme", TEXT))) == ("readme", TEXT)


def test_of_several_files_the_named_member_is_taken() -> None:
    packed = zipped(("train/sms.tsv", b"no"), ("test/sms.tsv", TEXT))
    assert unpack(packed, member="test/sms.tsv") == ("sms.tsv", TEXT)


def test_several_files_without_a_member_are_listed() -> None:
    with pytest.raises(ArchiveError) as caught:
        unpack(zipped(("a.tsv", b"a"), ("b.tsv", b"b"), ("readme", b"r")))
    assert str(caught.value) == (
        "'sms.zip' has several files ('a.tsv', 'b.tsv', 'readme'): choose one with --data.member NAME"
    )


def test_a_long_list_is_cut() -> None:
    with pytest.raises(ArchiveError, match=r"'part-9\.tsv' and 15 more\)"):
        unpack(zipped(*((f"part-{i}.tsv", b"") for i in range(25))))


def test_a_missing_member_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(ArchiveError) as caught:
        unpack(zipped(("SMSSpamCollection", TEXT), ("readme", b"")), member="SMSSpamColection")
    assert str(caught.value) == (
        "'sms.zip' has no file 'SMSSpamColection' (did you mean 'SMSSpamCollection'?); it has"
        " 'SMSSpamCollection', 'readme': choose one with --data.member NAME"
    )


def test_a_folder_is_no_member() -> None:
    with pytest.raises(ArchiveError, match="has no file 'data/'"):
        unpack(zipped(("data/", b""), ("data/a.tsv", TEXT)), member="data/")


def test_two_members_of_one_name_are_ambiguous() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        packed = zipped(("a.tsv", b"first"), ("a.tsv", b"second"))
    with pytest.raises(ArchiveError, match=r"has 2 files named 'a\.tsv'"):
        unpack(packed, member="a.tsv")


@pytest.mark.parametrize("packed", [zipped(), zipped(("data/", b""))])
def test_an_archive_without_files_says_so(packed: bytes) -> None:
    with pytest.raises(ArchiveError, match="without any file in it"):
        unpack(packed)


def test_a_member_of_what_is_no_archive_is_refused() -> None:
    with pytest.raises(ArchiveError, match=r"'page\.html' is not a zip archive, so there is no 'sms\.tsv' in it"):
        unpack(b"<html>please log in</html>", "page.html", member="sms.tsv")


def test_a_member_unpacked_by_hand_is_recognised_by_its_name() -> None:
    assert unpack(TEXT, "sms.tsv", member="data/sms.tsv") == ("sms.tsv", TEXT)
    assert unpack(gzip.compress(TEXT), "sms.tsv.gz", member="sms.tsv") == ("sms.tsv", TEXT)


# What is hostile


@pytest.mark.parametrize(
    "name",
    [
        "/etc/cron.d/job",
        "\\windows\\job",
        "C:\\job.tsv",
        "c:job.tsv",
        "../job.tsv",
        "data/../../job.tsv",
        "..\\job.tsv",
        "data\\..\\..\\job.tsv",
        "..",
    ],
)
def test_a_path_that_leaves_the_folder_condemns_the_archive(name: str) -> None:
    packed = zipped(("sms.tsv", TEXT), (name, b"* * * * * root evil"))
    with pytest.raises(ArchiveError) as caught:
        unpack(packed, member="sms.tsv")
    assert f"The entry {name!r} of 'sms.zip'" in str(caught.value)
    assert "nothing of it is unpacked" in str(caught.value)


def test_an_entry_without_a_name_condemns_the_archive() -> None:
    packed = bytearray(zipped(("x", TEXT)))
    lengths = packed.index(b"PK\x01\x02") + 28  # of name and extra field: the name becomes the extra field
    packed[lengths : lengths + 4] = struct.pack("<HH", 0, 1)
    with pytest.raises(ArchiveError, match=r"The entry '' of .* is not a relative path"):
        unpack(bytes(packed))


def test_a_nul_in_a_name_condemns_the_archive() -> None:
    packed = zipped(("sms.tsv", TEXT), ("abc/x.tsv", b"")).replace(b"abc/x.tsv", b"abc\0x.tsv")
    with pytest.raises(ArchiveError, match="is not a relative path"):
        unpack(packed, member="sms.tsv")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_a_device_condemns_the_archive(kind: int) -> None:
    packed = zipped(("sms.tsv", TEXT), (entry_of_kind("passwords", kind), b"/etc/shadow"))
    with pytest.raises(ArchiveError, match=r"The entry 'passwords' of .* is a link or a device"):
        unpack(packed, member="sms.tsv")


def test_a_regular_file_made_on_unix_is_fine() -> None:
    assert unpack(zipped((entry_of_kind("sms.tsv", stat.S_IFREG), TEXT))) == ("sms.tsv", TEXT)


def test_dots_within_a_name_are_fine() -> None:
    assert unpack(zipped(("v1..2/sms..tsv", TEXT))) == ("sms..tsv", TEXT)


def with_flag(packed: bytes, flag: int) -> bytes:
    """The one entry's general purpose flags set, in the local header and in the central directory."""
    patched = bytearray(packed)
    for signature, position in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = packed.index(signature) + position
        patched[at : at + 2] = struct.pack("<H", struct.unpack("<H", packed[at : at + 2])[0] | flag)
    return bytes(patched)


def test_an_encrypted_entry_is_refused() -> None:
    with pytest.raises(ArchiveError, match=r"The entry 'sms\.tsv' of .* is encrypted"):
        unpack(with_flag(zipped(("sms.tsv", TEXT)), 0x1))


def test_methods_that_cannot_be_bounded_are_refused() -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(ArchiveError, match=f"packed with method {method}, .* deflate"):
            unpack(zipped(("sms.tsv", TEXT), method=method))


ZEROS = bytes(RATIO_FREE_BYTES + 2**20)


@pytest.fixture(scope="module", params=["zip", "gzip"])
def bomb(request: pytest.FixtureRequest) -> bytes:
    return zipped(("zeros", ZEROS)) if request.param == "zip" else gzip.compress(ZEROS)


def test_a_bomb_is_stopped_while_it_unpacks(bomb: bytes) -> None:
    _, chunks = unpacked(io.BytesIO(bomb), "bomb")
    for _ in range(RATIO_FREE_BYTES // 2**20):
        assert next(chunks)
    with pytest.raises(ArchiveError, match="more than 200 times its own size, as a zip bomb does"):
        next(chunks)


def test_the_size_limit_holds_whatever_the_ratio(bomb: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"unpacks to more than 10\.0 MiB"):
        unpack(bomb, size_limit=10 * 2**20, ratio_limit=10**6)


def test_a_small_repetitive_file_is_no_bomb() -> None:
    text = b"ham\tok\n" * 2**20
    assert unpack(gzip.compress(text), "ok.tsv.gz") == ("ok.tsv", text)


def test_a_bomb_that_claims_to_be_small_gets_no_further_than_its_claim() -> None:
    packed = bytearray(zipped(("zeros", ZEROS)))
    for signature, position in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = packed.index(signature) + position
        packed[at : at + 4] = struct.pack("<I", 1000)
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(bytes(packed))


# What is broken or not readable here


def test_a_wrong_checksum_inside_is_damage() -> None:
    packed = zipped(("sms.tsv", TEXT), method=zipfile.ZIP_STORED)
    with pytest.raises(ArchiveError, match=r"'sms\.zip' is damaged \(Bad CRC-32 for file 'sms\.tsv'\): fetch it again"):
        unpack(packed.replace(b"seven", b"eight", 1))


@pytest.mark.parametrize("packed", [zipped(("sms.tsv", TEXT)), gzip.compress(TEXT)], ids=["zip", "gzip"])
def test_half_an_archive_is_damage(packed: bytes) -> None:
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(packed[: len(packed) // 2])


@pytest.mark.parametrize("packed", [zipped(("sms.tsv", TEXT)), gzip.compress(TEXT)], ids=["zip", "gzip"])
def test_whatever_is_broken_the_error_is_one_of_ours(packed: bytes) -> None:
    """Flipped bits give the right bytes or an `ArchiveError`: nothing else may ever reach the user.

    In the gzip case flips in the first two bytes make it a plain file, which is as it should be.
    """
    generator = random.Random(0)
    for _ in range(2000):
        broken = bytearray(packed)
        for _ in range(generator.randint(1, 4)):
            broken[generator.randrange(2, len(broken))] ^= 1 << generator.randrange(8)
        try:
            _, found = unpack(bytes(broken))
        except ArchiveError:
            continue
        assert found in (TEXT, bytes(broken))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xfd7zXZ\x00....", "an xz file"),
        (b"7z\xbc\xaf\x27\x1c....", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
        (b"\x28\xb5\x2f\xfd....", "a zstandard file"),
    ],
)
def test_other_packers_are_named(content: bytes, kind: str) -> None:
    with pytest.raises(ArchiveError, match=f"is {kind}, which is not read here"):
        unpack(content, "sms")


def test_a_tar_archive_is_named_also_inside_gzip(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sms.tsv"), io.BytesIO())
    for content in (packed.getvalue(), gzip.compress(packed.getvalue())):
        with pytest.raises(ArchiveError, match=r"'sms\.tar\.gz' is a tar archive, which is not read here"):
            unpack(content, "sms.tar.gz")


# Names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("sms+spam+collection.zip", "sms+spam+collection.zip"),
        ("Größe und Maß.tsv", "Größe und Maß.tsv"),
        ("a/b\\c.tsv", "c.tsv"),
        ("..", "data"),
        ("", "data"),
        ("folder/", "data"),
        (".hidden", "hidden"),
        ("a\nb;c|d$e\x00.tsv", "a_b_c_d_e_.tsv"),
        ("\udcff.tsv", "_.tsv"),
    ],
)
def test_names_are_made_harmless(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("letter", ["a", "ß", "語", "𠀀"])
def test_long_names_keep_their_ending(letter: str, tmp_path: Path) -> None:
    name = safe_name(letter * 300 + ".parquet")
    assert len(name.encode()) <= 200
    assert name.endswith(letter + ".parquet")
    (tmp_path / name).write_bytes(b"")
