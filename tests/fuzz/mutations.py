"""Seeded damage to the bytes of a valid file: what disks, transfers, other programs and attackers leave."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 19283712\n"
EXTREMES = (0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1)
OTHER_FORMATS = (
    b"\x93NUMPY\x01\x00\x14\x00{'descr': '<f4'}    \n",
    b"PK\x05\x06" + bytes(18),
    b"PAR1" + bytes(16) + b"PAR1",
    b"\x89PNG\r\n\x1a\n" + bytes(20),
    b"GIF89a\xff\xff\xff\xff\xf7\x00\x00",
    b"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00\x8c\x04text\x94.",
    b"id,label\n0,1\n",
    b"{}",
    b"\xff\xfei\x00d\x00",
)


def place_in(data: bytes, random: np.random.Generator) -> int:
    """A position, more often near the beginning or the end, where headers and directories are."""
    where = random.integers(3)
    size = max(1, len(data))
    reach = size if where == 0 else min(size, 160)
    offset = int(random.integers(reach))
    return size - 1 - offset if where == 2 else offset


def flip_bits(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        changed[place_in(data, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def overwrite(data: bytes, random: np.random.Generator) -> bytes:
    start, length = place_in(data, random), int(random.integers(1, 33))
    run = random.bytes(length) if random.integers(2) else bytes([random.choice((0, 32, 48, 255))]) * length
    return (data[:start] + run + data[start + length :])[: max(len(data), 1)]


def truncate(data: bytes, random: np.random.Generator) -> bytes:
    return data[: place_in(data, random)]


def insert(data: bytes, random: np.random.Generator) -> bytes:
    start = place_in(data, random)
    return data[:start] + random.bytes(int(random.integers(1, 65))) + data[start:]


def delete(data: bytes, random: np.random.Generator) -> bytes:
    start = place_in(data, random)
    return data[:start] + data[start + int(random.integers(1, 65)) :]


def repeat(data: bytes, random: np.random.Generator) -> bytes:
    start = place_in(data, random)
    return data[: start + int(random.integers(1, 65))] + data[start:]


def swap_blocks(data: bytes, random: np.random.Generator) -> bytes:
    length = int(random.integers(1, 65))
    first, second = sorted((place_in(data, random), place_in(data, random)))
    if second < first + length:
        return data[second:] + data[:second]
    middle = data[first + length : second]
    return (
        data[:first]
        + data[second : second + length]
        + middle
        + data[first : first + length]
        + (data[second + length :])
    )


def set_integer(data: bytes, random: np.random.Generator) -> bytes:
    """An extreme value at one place, of two, four or eight bytes in either order."""
    size = int(random.choice((2, 4, 8)))
    value = int(random.choice(EXTREMES)) % 2 ** (8 * size)
    start = place_in(data, random)
    packed = value.to_bytes(size, random.choice(("little", "big")))
    return data[:start] + packed + data[start + size :]


def replace_whole(data: bytes, random: np.random.Generator) -> bytes:
    choice = int(random.integers(5))
    if choice == 0:
        return b""
    if choice == 1:
        return POINTER
    if choice == 2:
        return bytes(len(data))
    if choice == 3:
        return random.bytes(len(data))
    return OTHER_FORMATS[random.integers(len(OTHER_FORMATS))]


GENERIC: tuple[Mutation, ...] = (
    flip_bits,
    overwrite,
    truncate,
    insert,
    delete,
    repeat,
    swap_blocks,
    set_integer,
    replace_whole,
)


# .npy


NPY_SHAPES = (
    "()", "(300,)", "(299, 8)", "(301, 8)", "(8, 300)", "(0, 8)", "(300, 0)", "(-300, -8)", "(300, 8L)",
    "(1000000000000, 8)", "(9223372036854775807, 8)", "(99999999999999999999999999, 8)", "(True, 8)",
    "(300.0, 8)", "300", "(0, 1000000000000000000)", "(300, 2, 4)", "(300, 2, 2, 2)", "('300', 8)", "None",
    "(" + "1, " * 2990 + ")", "(300, 8", "[300, 8]", "(1" + "0" * 5000 + ",)",
)  # fmt: skip
NPY_TYPES = (
    "'<f4'", "'>f4'", "'<f8'", "'<f2'", "'|u1'", "'<i8'", "'<c8'", "'|O'", "'<M8[ns]'", "'<m8[D]'", "'<U0'",
    "'|S0'", "'<U4'", "'|V32'", "[('a', '<f4'), ('b', '<i4')]", "('<f4', (8,))", "'|b1'", "'<g'", "'<f16'",
    "'nonsense'", "'<f4\\n'", "{}", "None", "'<U999999999'", "'" + "(" * 150 + "'", "[" * 300, "(" * 99,
    "-" * 5000 + "1", "{'names': ['a'], 'formats': ['O']}", "'f4,' * 9", "1" + "0" * 6000, "'\\ud800'",
)  # fmt: skip


def npy_header(data: bytes, random: np.random.Generator) -> bytes:
    """Another shape, type, order, version or length in the header."""
    length = struct.unpack("<H", data[8:10])[0]
    header, body = data[10 : 10 + length].decode("latin-1").rstrip(), data[10 + length :]
    for _ in range(int(random.integers(1, 3))):
        match int(random.integers(5)):
            case 0:
                header = re.sub(r"'shape': [^}]*", f"'shape': {random.choice(NPY_SHAPES)}, ", header)
            case 1:
                header = re.sub(
                    r"'descr': .*?, '", lambda _: f"'descr': {random.choice(NPY_TYPES)}, '", header
                )
            case 2:
                value = random.choice(("True", "False", "None", "2"))
                header = re.sub(r"(True|False)", str(value), header)
            case 3:
                start = int(random.integers(len(header)))
                header = header[:start] + chr(random.integers(1, 128)) + header[start + 1 :]
            case 4:
                header = header.replace("'", '"') + " " * int(random.choice((0, 1, 5, 9_990, 20_000)))
    encoded = header.encode("latin-1", "replace") + b"\n"
    version = int(random.choice((1, 2, 3))) if len(encoded) < 2**16 else 2
    claimed = len(encoded) + int(random.choice((0, 0, 0, 0, 1, -1, 30_000)))
    size = struct.pack("<H" if version == 1 else "<I", claimed % 2 ** (16 if version == 1 else 32))
    return data[:6] + bytes((version, int(random.choice((0, 0, 0, 1))))) + size + encoded + body


# Archives: .npz, and torch's files


def members_of(data: bytes) -> tuple[dict[str, bytes], int]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        return members, archive.infolist()[0].compress_type


def archive_of(members: dict[str, bytes], kind: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def inner(mutations: tuple[Mutation, ...], among: str = "") -> Mutation:
    """Damage within a member of an archive whose checksums are right all the same."""

    def mutate(data: bytes, random: np.random.Generator) -> bytes:
        members, kind = members_of(data)
        name = str(random.choice([name for name in members if among in name]))
        members[name] = mutations[random.integers(len(mutations))](members[name], random)
        return archive_of(members, kind)

    return mutate


NAMES = ("/etc/features.npy", "../features.npy", "a\nb.npy", "features", "x" * 60_000, "\u202efeat.npy",
         "features.npy/", "C:\\features.npy", "\x1b[31m.npy")  # fmt: skip


def rename_member(data: bytes, random: np.random.Generator) -> bytes:
    members, kind = members_of(data)
    name = str(random.choice(list(members)))
    return archive_of(
        {str(random.choice(NAMES)) if key == name else key: members[key] for key in members}, kind
    )


def archive_field(data: bytes, random: np.random.Generator) -> bytes:
    """A size, method, flag, offset or checksum in a member's own header, the directory, or both."""
    changed = bytearray(data)
    # name: (offset in the local header, offset in the directory, bytes)
    fields = {"flags": (6, 8, 2), "method": (8, 10, 2), "crc": (14, 16, 4), "compressed": (18, 20, 4),
              "size": (22, 24, 4), "name length": (26, 28, 2), "extra": (28, 30, 2)}  # fmt: skip
    local, central, size = fields[str(random.choice(list(fields)))]
    value = int(random.choice((0, 1, 8, 9, 12, 14, 93, 99, 0x800, 2**16 - 1, 2**31, 2**32 - 1))) % 2 ** (
        8 * size
    )
    which = int(random.integers(3))
    for signature, offset, chosen in (
        (b"PK\x03\x04", local, which != 1),
        (b"PK\x01\x02", central, which != 0),
    ):
        places = [hit.start() for hit in re.finditer(re.escape(signature), data)]
        if chosen and places:
            start = int(random.choice(places)) + offset
            changed[start : start + size] = value.to_bytes(size, "little")
    return bytes(changed)


def bomb(data: bytes, random: np.random.Generator) -> bytes:
    """A member that inflates a thousandfold, far beyond what its own header claims."""
    members, _ = members_of(data)
    name = str(random.choice(list(members)))
    return archive_of(members | {name: members[name] + bytes(16 * 2**20)}, zipfile.ZIP_DEFLATED)


def duplicate_member(data: bytes, random: np.random.Generator) -> bytes:
    members, kind = members_of(data)
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a", kind) as archive:
        name = str(random.choice(list(members)))
        archive.writestr(name, members[name][: int(random.integers(1, 200))])
    return file.getvalue()


ARCHIVE: tuple[Mutation, ...] = (archive_field, archive_field, rename_member, bomb, duplicate_member)


# PNG


def png_header(data: bytes, random: np.random.Generator) -> bytes:
    """Another width, height, depth, colour type or interlacing, with the right checksum."""
    fields = bytearray(data[16:29])
    match int(random.integers(3)):
        case 0:
            fields[0:8] = struct.pack(
                ">II", *(int(random.choice((0, 1, 24, 1000, 60_000, 2**31 - 1, 2**32 - 1))) for _ in range(2))
            )
        case 1:
            fields[8], fields[9] = int(random.choice((0, 1, 2, 4, 8, 16, 255))), int(random.integers(8))
        case 2:
            fields[int(random.integers(10, 13))] = int(random.integers(256))
    return data[:16] + bytes(fields) + struct.pack(">I", zlib.crc32(b"IHDR" + fields)) + data[33:]


# Text


TOKENS = (
    b"\x00", b"\t", b"\r", b"\xff", b"\xfe\xff", b"\xc3", b"\n", b"\n\n", b'"', b"'", b": ", b"- ", b"&a ",
    b"*a", b"!!python/object/apply:os.system [id]", b"!!binary x", b"!!timestamp 1", b"!!int x",
    b"!!float x", b"<<: ", b"? ", b"| ", b">", b"%YAML 9.9\n", b"---\n", b"...\n", b"{", b"[", b"}", b"]",
    b"#", b",", b";", b"-1", b"1e999", b".nan", b"NaN", b"Infinity", b"2020-02-31", b"2020-01-01",
    b"1" * 5000, b"0x" + b"f" * 5000, b"1:" * 500 + b"1", b"[" * 1500, b"{a: " * 1500, b"[" * 200_000,
    b"x" * 200_000, b'"\\ud800"', b'"\\UFFFFFFFF"', b"null", b"true", b"~", b"\xe2\x80\xa8", b"\x1b[31m",
    b"\xef\xbb\xbf", b"\x85", b'"a\\nb": 1\n', b"99999999999999999999", b"1_000", b"  ",
    b"a: &x [1]\nb: *x\n", b"a: &x [*x]\n",
)  # fmt: skip
LAUGHS = b"".join(
    b"%c: &%c [%s]\n" % (97 + level, 97 + level, b", ".join([b"*%c" % (96 + level)] * 9) if level else b"1")
    for level in range(12)
)
MERGES = b"a: &a {k: 1}\n" + b"".join(
    b"%c: &%c {<<: [%s]}\n" % (98 + level, 98 + level, b", ".join([b"*%c" % (97 + level)] * 9))
    for level in range(9)
)


def token(data: bytes, random: np.random.Generator) -> bytes:
    """One token too many, or in the place of a word or number."""
    chosen = TOKENS[random.integers(len(TOKENS))]
    words = [hit.span() for hit in re.finditer(rb"[\w.+-]+|[^\w\s]", data)]
    if not words or random.integers(2):
        start = int(random.integers(len(data) + 1))
        return data[:start] + chosen + data[start:]
    start, end = words[random.integers(len(words))]
    return data[:start] + chosen + data[end:]


def swap_words(data: bytes, random: np.random.Generator) -> bytes:
    words = [hit.span() for hit in re.finditer(rb"[\w.+-]+", data)]
    if len(words) < 2:
        return data
    first, second = sorted(random.choice(len(words), 2, replace=False))
    (a, b), (c, d) = words[first], words[second]
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def yaml_bomb(data: bytes, random: np.random.Generator) -> bytes:
    extra = (LAUGHS, MERGES, b"deep:" + b" - " * 20_000 + b"\n", b"cycle: &c [*c]\n")[random.integers(4)]
    under = data.replace(b": ", b": *l\nother: ", 1) if extra is LAUGHS and random.integers(2) else data
    return extra + under


def recode(data: bytes, random: np.random.Generator) -> bytes:
    return data.decode("utf-8").encode(
        str(random.choice(("utf-16", "utf-32", "utf-8-sig", "cp037"))), "replace"
    )


TEXT: tuple[Mutation, ...] = (token, token, token, swap_words, recode)
