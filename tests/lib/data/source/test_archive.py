"""Archives as they come from anywhere: honest, odd, broken and hostile ones."""

import bz2
import gzip
import io
import lzma
import random
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lib.data.source.archive import safe_name, unpacked
from lib.data.source.compressed import RATIO_FREE_BYTES, XZ_MEMORY
from lib.data.source.data_file import DataFile
from lib.errors import ArchiveError, MessagesError

TEXT = "ham\tsee you at seven\nspam\tYOU WON £1000, call now\n".encode() * 50


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return packed.getvalue()


def tarred(*entries: tuple[str | tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format) as archive:
        for entry, data in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


Packer = Callable[[bytes], bytes]
COMPRESSORS: dict[str, Packer] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}
CONTAINERS: dict[str, Callable[..., bytes]] = {"zip": zipped, "tar": tarred}
each_compression = pytest.mark.parametrize("ending", COMPRESSORS)
each_container = pytest.mark.parametrize("kind", CONTAINERS)


@each_compression
def test_a_bomb_that_is_read_where_it_lies(ending: str, tmp_path: Path) -> None:
    """As scoring and `inspect` read a compressed file; nobody unpacks it before."""
    file = tmp_path / f"mine.csv.{ending}"
    file.write_bytes(COMPRESSORS[ending](b"text\n" + b"a" * 2**26))
    refused = pytest.raises(ArchiveError, match=r"more than 200 times its own size.*unpack it yourself and name what")
    with DataFile(file, file.name).opened() as source, refused:
        shutil.copyfileobj(source, io.BytesIO())


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


@each_compression
@pytest.mark.parametrize("name", ["messages.tsv.{}", "messages.tsv"])
def test_every_compression_is_recognised_by_its_bytes(ending: str, name: str) -> None:
    assert unpack(COMPRESSORS[ending](TEXT), name.format(ending)) == ("messages.tsv", TEXT)


@each_compression
def test_several_members_are_one_file(ending: str) -> None:
    packed = COMPRESSORS[ending](TEXT)
    assert unpack(packed + packed, f"a.tsv.{ending}") == ("a.tsv", TEXT + TEXT)


def test_padding_behind_xz_is_no_damage() -> None:
    packed = lzma.compress(TEXT)
    assert unpack(packed + bytes(8) + packed + bytes(4), "a.tsv.xz") == ("a.tsv", TEXT + TEXT)


@each_compression
@pytest.mark.parametrize("kept", [-1, 0.5])
def test_a_file_that_is_cut_off_is_damaged(ending: str, kept: float) -> None:
    packed = COMPRESSORS[ending](random.Random(0).randbytes(2**18))
    with pytest.raises(ArchiveError, match=rf"'a\.tsv\.{ending}' is damaged .*: fetch it again"):
        unpack(packed[:-1] if kept == -1 else packed[: int(kept * len(packed))], f"a.tsv.{ending}")


@pytest.mark.parametrize("ending", ["gz", "xz", "zst"])
def test_what_follows_and_is_no_member_is_damage(ending: str) -> None:
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(COMPRESSORS[ending](TEXT) + b"and more")


@each_compression
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_is_read_in_every_compression_and_dialect(ending: str, format: int) -> None:
    long = "a-folder/" * 20 + "sms.tsv" if format != tarfile.USTAR_FORMAT else "data/sms.tsv"
    folder = tarfile.TarInfo("data")
    folder.type = tarfile.DIRTYPE
    packed = tarred((folder, b""), ("data/README", b"read me"), (long, TEXT), format=format)
    for content in (packed, COMPRESSORS[ending](packed)):
        assert unpack(content, f"corpus.tar.{ending}") == ("sms.tsv", TEXT)
        assert unpack(content, "corpus", member=long) == ("sms.tsv", TEXT)


def test_a_tar_archive_from_before_posix_is_recognised_by_its_checksum() -> None:
    packed = bytearray(tarred(("sms.tsv", TEXT), format=tarfile.USTAR_FORMAT))
    packed[257:512] = bytes(255)
    packed[148:156] = b"%06o\0 " % (sum(packed[:148]) + sum(packed[156:512]) + 8 * ord(" "))
    assert unpack(bytes(packed), "sms.tar") == ("sms.tsv", TEXT)


def test_a_name_that_begins_with_a_dot_and_a_slash_is_chosen_without_them() -> None:
    packed = tarred(("./train.csv", TEXT), ("./test.csv", b"no"))
    for member in ("train.csv", "./train.csv"):
        assert unpack(packed, member=member) == ("train.csv", TEXT)
    with pytest.raises(ArchiveError, match=r"has several files \('train\.csv', 'test\.csv'\)"):
        unpack(packed)


@each_container
@each_compression
def test_a_member_may_be_compressed_itself(kind: str, ending: str) -> None:
    packed = CONTAINERS[kind]((f"data/sms.tsv.{ending}", COMPRESSORS[ending](TEXT)))
    assert unpack(packed) == ("sms.tsv", TEXT)


@each_container
@pytest.mark.parametrize("inner", [*CONTAINERS, "tar.gz"])
def test_an_archive_in_an_archive_is_named(kind: str, inner: str) -> None:
    content = gzip.compress(tarred(("a.tsv", TEXT))) if inner == "tar.gz" else CONTAINERS[inner](("a.tsv", TEXT))
    with pytest.raises(ArchiveError) as caught:
        unpack(CONTAINERS[kind]((f"data/inner.{inner}", content)), "outer")
    assert str(caught.value) == (
        f"'data/inner.{inner}' in 'outer' is an archive itself: unpack 'outer' yourself and point data.url at"
        f" 'inner.{inner}'"
    )


@pytest.mark.parametrize("inner", [gzip.compress(TEXT), zipped(("a.tsv", TEXT))], ids=["gzip", "zip"])
def test_what_is_compressed_twice_is_named(inner: bytes) -> None:
    with pytest.raises(ArchiveError, match="'a' is compressed twice: unpack it yourself"):
        unpack(gzip.compress(inner), "a")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", ["sms.zip", "download", "sms.tsv"])
def test_zip_is_recognised_by_its_bytes(name: str, method: int) -> None:
    assert unpack(zipped(("SMSSpamCollection", TEXT), method=method), name) == ("SMSSpamCollection", TEXT)


def test_chunks_are_small_and_complete() -> None:
    noise = random.Random(0).randbytes(3 * 2**20 + 5)
    compressed = [compress(noise) for compress in COMPRESSORS.values()]
    for packed in (noise, *compressed, zipped(("noise", noise)), tarred(("noise", noise))):
        _, chunks = unpacked(io.BytesIO(packed), "noise")
        sizes = [len(chunk) for chunk in chunks]
        assert max(sizes) <= 2**20
        assert sum(sizes) == len(noise)


# Which member


@each_container
def test_the_only_file_is_taken_whatever_surrounds_it(kind: str) -> None:
    clutter = ("__MACOSX/data/._sms.tsv", "data/__MACOSX/x", "data/.DS_Store", "._data", "data/._sms.tsv")
    packed = CONTAINERS[kind](*((name, b"x") for name in clutter), ("data/sms.tsv", TEXT))
    assert unpack(packed) == ("sms.tsv", TEXT)


def test_folders_are_no_files() -> None:
    assert unpack(zipped(("data/", b""), ("data/sms.tsv", TEXT))) == ("sms.tsv", TEXT)


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
    with pytest.raises(ArchiveError, match=r"'sms\.csv' is not an archive, so there is no 'sms\.tsv' in it"):
        unpack(TEXT, "sms.csv", member="sms.tsv")
    with pytest.raises(MessagesError, match=r"'page\.html' is a web page"):
        unpack(b"<html>please log in</html>", "page.html", member="sms.tsv")


def test_what_is_no_archive_may_have_any_name_where_a_checksum_decides() -> None:
    assert unpack(TEXT, "mine.csv", member="sms.tsv", any_name=True) == ("mine.csv", TEXT)


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
    for pack in CONTAINERS.values():
        with pytest.raises(ArchiveError) as caught:
            unpack(pack(("sms.tsv", TEXT), (name, b"* * * * * root evil")), member="sms.tsv")
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


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_or_a_device_condemns_a_tar_archive(kind: bytes) -> None:
    entry = tarfile.TarInfo("passwords")
    entry.type, entry.linkname = kind, "/etc/shadow"
    with pytest.raises(ArchiveError, match=r"The entry 'passwords' of .* is a link or a device"):
        unpack(tarred(("sms.tsv", TEXT), (entry, b"")), member="sms.tsv")


def sparse(*, pax: bool) -> tarfile.TarInfo:
    entry = tarfile.TarInfo("holes")
    entry.type = tarfile.REGTYPE if pax else tarfile.GNUTYPE_SPARSE
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"} if pax else {}
    return entry


@pytest.mark.parametrize("pax", [True, False])
def test_a_file_with_holes_condemns_a_tar_archive(pax: bool) -> None:
    with pytest.raises(ArchiveError, match=r"The entry 'holes' of .* has holes \(a sparse file\)"):
        unpack(tarred(("sms.tsv", TEXT), (sparse(pax=pax), b"")), member="sms.tsv")


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_claims_gigabytes_is_damage(kind: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"is damaged \(a header of 4,294,967,296 bytes"):
        unpack(header("x", kind, 2**32) + bytes(2**16), "sms.tar")


def test_an_entry_of_less_than_nothing_is_damage() -> None:
    with pytest.raises(ArchiveError, match=r"is damaged \(an entry of -512 bytes"):
        unpack(header("x", tarfile.REGTYPE, -512) + bytes(1024), "sms.tar")


@pytest.mark.parametrize("records", [b"nonsense", b"0 path=\n", b"7 path=x\n", b"99999999999 path=x\n"])
def test_attributes_that_make_no_sense_are_damage(records: bytes) -> None:
    packed = header("x", tarfile.XHDTYPE, len(records)) + records.ljust(512, b"\0") + tarred(("sms.tsv", TEXT))
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(packed, "sms.tar")


def test_a_broken_header_between_entries_does_not_end_the_archive_in_silence() -> None:
    first, second = tarred(("a.tsv", TEXT)), tarred(("b.tsv", TEXT))
    packed = bytearray(first[: 512 + (len(TEXT) + 511) // 512 * 512] + second)
    packed[packed.index(b"b.tsv")] = ord("?")
    with pytest.raises(ArchiveError, match=r"is damaged \(bad checksum"):
        unpack(bytes(packed), "sms.tar")


def test_a_tar_archive_of_too_many_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.data.source.archive.MOST_MEMBERS", 3)
    with pytest.raises(ArchiveError, match="has more than 3 entries: unpack it yourself"):
        unpack(tarred(*((f"{number}", b"") for number in range(4))), "many.tar")


def test_a_tar_archive_that_is_cut_between_entries_is_damaged() -> None:
    with pytest.raises(ArchiveError, match=r"is damaged \(the end is missing\)"):
        unpack(tarred(("a.tsv", b""))[:512], "sms.tar")


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
    with pytest.raises(ArchiveError, match=r"The entry 'sms\.tsv' of .* is encrypted, .*: unpack it yourself"):
        unpack(with_flag(zipped(("sms.tsv", TEXT)), 0x1))


def test_methods_that_cannot_be_bounded_are_refused() -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(ArchiveError, match=f"packed with method {method}, .* deflate"):
            unpack(zipped(("sms.tsv", TEXT), method=method))


ZEROS = bytes(RATIO_FREE_BYTES + 2**20)


BOMBS: dict[str, Packer] = {
    "zip": lambda zeros: zipped(("zeros", zeros)),
    **COMPRESSORS,
    "tar.gz": lambda zeros: gzip.compress(tarred(("zeros", zeros))),
    "tar.xz": lambda zeros: lzma.compress(tarred(("zeros", zeros))),
    "gz in zip": lambda zeros: zipped(("zeros.gz", gzip.compress(zeros))),
    "zst in tar": lambda zeros: tarred(("zeros.zst", zstd(zeros))),
}


@pytest.fixture(scope="module", params=BOMBS)
def bomb(request: pytest.FixtureRequest) -> bytes:
    return BOMBS[request.param](ZEROS)


def test_a_bomb_of_any_kind_is_refused(bomb: bytes) -> None:
    with pytest.raises(ArchiveError, match="more than 200 times its own size, as a zip bomb does"):
        unpack(bomb, "bomb")


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz", "zst"])
def test_a_bomb_is_stopped_while_it_unpacks(kind: str) -> None:
    _, chunks = unpacked(io.BytesIO(BOMBS[kind](ZEROS)), "bomb")
    for _ in range(RATIO_FREE_BYTES // 2**20):
        assert next(chunks)
    with pytest.raises(ArchiveError, match="more than 200 times its own size, as a zip bomb does"):
        next(chunks)


def test_an_xz_file_that_wants_too_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2 * XZ_MEMORY}]
    with pytest.raises(ArchiveError, match=r"is damaged \(Memory usage limit exceeded"):
        unpack(lzma.compress(TEXT, filters=filters), "a.tsv.xz")


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


PACKED = {
    "zip": zipped(("sms.tsv", TEXT)),
    "tar": tarred(("sms.tsv", TEXT), format=tarfile.USTAR_FORMAT),
    **{ending: compress(TEXT) for ending, compress in COMPRESSORS.items()},
}


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
def test_a_part_of_an_archive_is_damage(packed: bytes) -> None:
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(packed[: len(packed) // 5])


@pytest.mark.parametrize(
    "packed", [PACKED[kind] for kind in ("zip", "gz", "bz2", "xz")], ids=["zip", "gz", "bz2", "xz"]
)
def test_whatever_is_broken_the_error_is_one_of_ours(packed: bytes) -> None:
    """Flipped bits give the right bytes or one of our errors: nothing else may ever reach the user.

    In the compressed cases flips in the first bytes make it a plain file, which is as it should be.
    """
    generator = random.Random(0)
    for _ in range(2000):
        broken = bytearray(packed)
        for _ in range(generator.randint(1, 4)):
            broken[generator.randrange(2, len(broken))] ^= 1 << generator.randrange(8)
        try:
            _, found = unpack(bytes(broken))
        except (ArchiveError, MessagesError):
            continue
        assert found in (TEXT, bytes(broken))


@pytest.mark.parametrize("packed", [PACKED[kind] for kind in ("tar", "zst")], ids=["tar", "zst"])
def test_whatever_is_broken_without_a_checksum_the_error_is_one_of_ours(packed: bytes) -> None:
    generator = random.Random(0)
    for _ in range(2000):
        broken = bytearray(packed)
        for _ in range(generator.randint(1, 4)):
            broken[generator.randrange(len(broken))] ^= 1 << generator.randrange(8)
        try:
            unpack(bytes(broken))
        except (ArchiveError, MessagesError):
            continue


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"7z\xbc\xaf\x27\x1c....", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
    ],
)
def test_other_packers_are_named(content: bytes, kind: str) -> None:
    for packed in (content, gzip.compress(content), zipped(("sms", content))):
        with pytest.raises(ArchiveError, match=f"is {kind}, which is not read here"):
            unpack(packed, "sms")


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
