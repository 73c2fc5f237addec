#!/usr/bin/env python3
"""A second verifier of Keepgate logs, written from the format in src/audit/mod.rs alone.

Usage: verify-log.py DIRECTORY [VKEY]

Prints `ok N entries root HEX` and exits 0, or `tampered: WHAT` and exits 20. A log that was begun
and never signed, or of which all but that was taken away, is `unsigned N entries root HEX`: exit 3.
Exits 1 where the directory cannot be read and 2 on wrong usage. Python 3.9 or newer, standard library only.
"""

import base64
import hashlib
import json
import os
import re
import struct
import sys

HEADER, SALT = 9, 32
LENGTHS = {b"E": (0, 16 << 20), b"P": (SALT, (64 << 20) + SALT)}
DEPTH, INTEGER = 64, 2**53 - 1
MEMBERS = ["body", "boot", "kind", "origin", "payloads", "prev", "seq", "time", "v"]
WORD = re.compile(r"[a-z0-9._-]{1,64}")
ORIGIN = re.compile(r"[!#-*,-\[\]-~]{1,200}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
HASH = re.compile(r"[0-9a-f]{64}")


class Tampered(Exception):
    """The log is not what was written."""


def expect(condition, what):
    if not condition:
        raise Tampered(what)


# P-256 (FIPS 186-5, SEC 1)
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")


def add(a, b):
    """Sum of two points; None is the point at infinity."""
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(k, point):
    total = None
    while k:
        if k & 1:
            total = add(total, point)
        point, k = add(point, point), k >> 1
    return total


def der_integers(der):
    """The two integers of an ECDSA signature in DER; None for any other spelling."""
    if len(der) < 2 or der[0] != 0x30 or der[1] != len(der) - 2 or der[1] > 127:
        return None
    numbers, rest = [], der[2:]
    while rest:
        if len(rest) < 3 or rest[0] != 2 or not 1 <= rest[1] <= len(rest) - 2:
            return None
        value, rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
        if value[0] > 127 or (value[0] == 0 and len(value) > 1 and value[1] < 128):
            return None
        numbers.append(int.from_bytes(value, "big"))
    return numbers if len(numbers) == 2 else None


def signature_fits(spki, message, der):
    numbers = der_integers(der)
    if numbers is None or not all(0 < number < N for number in numbers):
        return False
    r, s = numbers
    key = (int.from_bytes(spki[27:59], "big"), int.from_bytes(spki[59:], "big"))
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    inverse = pow(s, -1, N)
    point = add(times(digest * inverse % N, G), times(r * inverse % N, key))
    return point is not None and point[0] % N == r


class Vkey:
    """NAME+KEYID+BASE64(0x02 || SPKI)"""

    def __init__(self, text):
        parts = text.split("+", 2)
        expect(len(parts) == 3, f"`{text}` is not a log key")
        self.text, self.name = text, parts[0]
        raw = strict_base64(parts[2])
        expect(raw is not None and raw[:1] == b"\2", f"`{text}` is not a P-256 log key")
        self.spki = raw[1:]
        self.id = hashlib.sha256(self.spki).digest()[:4]
        expect(self.spki[:27] == SPKI and len(self.spki) == 91, "a key that is not of P-256")
        x, y = int.from_bytes(self.spki[27:59], "big"), int.from_bytes(self.spki[59:], "big")
        expect(x < P and y < P and (y * y - x * x * x + 3 * x - B) % P == 0, "no point of P-256")
        expect(self.id.hex() == parts[1], "a key with another id")


def strict_base64(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return raw if base64.b64encode(raw).decode() == text else None


# Canonical JSON (RFC 8785, integers only)
def unique(pairs):
    expect(len({name for name, _ in pairs}) == len(pairs), "a name that occurs twice")
    return dict(pairs)


def no_float(text):
    raise Tampered(f"the number {text} is no integer")


def canonical(value, depth=0):
    if isinstance(value, (dict, list)):
        expect(depth < DEPTH, "nesting that is too deep")
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        members = (canonical(name) + ":" + canonical(value[name], depth + 1) for name in names)
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        expect(abs(value) <= INTEGER, "a number beyond 2^53-1")
    return json.dumps(value, ensure_ascii=False)


def parse_entry(raw):
    try:
        text = raw.decode("utf-8")
        entry = json.loads(
            text, object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float
        )
        expect(canonical(entry).encode("utf-8") == raw, "an entry that is not canonical")
    except (ValueError, RecursionError) as error:
        raise Tampered(f"an entry that is not JSON: {error}") from error
    expect(isinstance(entry, dict) and sorted(entry) == MEMBERS, "members of an entry")
    texts = all(isinstance(entry[name], str) for name in ("boot", "kind", "origin", "prev", "time"))
    expect(texts and isinstance(entry["body"], dict), "types of an entry's members")
    expect(entry["v"] is not True and entry["v"] == 1 and is_count(entry["seq"]), "version, number")
    expect(WORD.fullmatch(entry["kind"]) and TIME.fullmatch(entry["time"]), "kind or time")
    expect(HASH.fullmatch(entry["prev"]), "`prev` of an entry")
    expect(re.fullmatch(r"[ !#-\[\]-~]*", entry["boot"]), "`boot` of an entry")
    expect(isinstance(entry["payloads"], dict) and len(entry["payloads"]) <= 16, "payloads")
    for name, payload in entry["payloads"].items():
        good = WORD.fullmatch(name) and isinstance(payload, dict)
        expect(good and sorted(payload) == ["at", "digest", "len"], f"payload `{name}`")
        counts = is_count(payload["at"]) and is_count(payload["len"])
        expect(counts and HASH.fullmatch(str(payload["digest"])), f"payload `{name}`")
    return entry


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def sha256(*pieces):
    return hashlib.sha256(b"".join(pieces)).digest()


class Tree:
    """RFC 6962, section 2.1, as its right edge."""

    def __init__(self):
        self.size, self.edge = 0, []

    def push(self, leaf):
        size = self.size
        while size & 1:
            leaf, size = sha256(b"\1", self.edge.pop(), leaf), size >> 1
        self.edge.append(leaf)
        self.size += 1

    def root(self):
        if not self.edge:
            return sha256()
        root = self.edge[-1]
        for left in reversed(self.edge[:-1]):
            root = sha256(b"\1", left, root)
        return root


class Checkpoint:
    """A signed note with three lines of text."""

    def __init__(self, raw):
        expect(len(raw) <= 65536, "the checkpoint is too long")
        try:
            text = raw.decode("utf-8")
        except ValueError as error:
            raise Tampered("the checkpoint is not UTF-8") from error
        body, blank, lines = text.rpartition("\n\n")
        parts = body.split("\n")
        expect(blank and len(parts) == 3 and lines.endswith("\n"), "the checkpoint's form")
        self.text = (body + "\n").encode()
        self.origin = parts[0]
        root = strict_base64(parts[2])
        expect(ORIGIN.fullmatch(self.origin), "the checkpoint's origin")
        expect(re.fullmatch(r"0|[1-9][0-9]{0,18}", parts[1]), "the checkpoint's size")
        expect(root is not None and len(root) == 32, "the checkpoint's root")
        self.size, self.root, self.signatures = int(parts[1]), root, []
        expect(self.size > 0, "the checkpoint covers nothing")
        for line in lines[:-1].split("\n"):
            match = re.fullmatch("\u2014 ([^ ]+) ([^ ]+)", line)
            signed = strict_base64(match[2]) if match else None
            good = signed is not None and len(signed) >= 4 and ORIGIN.fullmatch(match[1])
            expect(good, "a signature line of the checkpoint")
            self.signatures.append((match[1], signed[:4], signed[4:]))
        expect(len(self.signatures) <= 16, "the checkpoint has too many signatures")

    def compare(self, log):
        expect(self.origin == log.origin, "the checkpoint is of another log")
        mine = [s for name, key, s in self.signatures if (name, key) == (log.vkey.name, log.vkey.id)]
        expect(mine, "the checkpoint is not signed by the key in force")
        good = all(signature_fits(log.vkey.spki, self.text, signature) for signature in mine)
        expect(good, "the checkpoint's signature is wrong")
        expect(self.root == log.tree.root(), "the checkpoint's root is another")


class Log:
    """The chain, from entry to entry."""

    def __init__(self, checkpoint):
        self.checkpoint, self.tree, self.prev = checkpoint, Tree(), bytes(32)
        self.origin = self.vkey = self.previous = None
        self.keys, self.pruned = [], 0

    def opening(self, entry):
        body = entry["body"]
        names = ["frontier", "previous", "size", "state", "vkey"]
        expect(entry["kind"] == "segment" and sorted(body) == names, "a `segment` entry is missing")
        edge = [hash.hex() for hash in self.tree.edge]
        expect(body["size"] == self.tree.size and body["frontier"] == edge, "another tree")
        expect(body["previous"] == self.previous, "another segment comes before")
        vkey = Vkey(str(body["vkey"]))
        if self.vkey is None:
            self.origin, self.vkey = entry["origin"], vkey
            expect(ORIGIN.fullmatch(self.origin) and vkey.name == self.origin, "the log's name")
            self.keys.append(vkey.text)
        expect(vkey.text == self.vkey.text, "another key")

    def change_key(self, entry):
        body = entry["body"]
        expect(sorted(body) == ["new", "old", "signature"], "a malformed key change")
        expect(body["old"] == self.vkey.text, "another key is replaced")
        new, signature = Vkey(str(body["new"])), strict_base64(str(body["signature"]))
        lines = ["keepgate/v1/key-change", self.origin, str(entry["seq"]), body["old"], new.text]
        text = ("\n".join(lines) + "\n").encode()
        good = signature is not None and signature_fits(self.vkey.spki, text, signature)
        expect(good and new.name == self.origin, "the key change is not signed by the old key")
        self.vkey = new
        self.keys.append(new.text)

    def append(self, entry, leaf, first):
        if first:
            self.opening(entry)
        else:
            expect(entry["kind"] != "segment", "a `segment` entry inside of a segment")
        expect(entry["seq"] == self.tree.size, f"the number should be {self.tree.size}")
        expect(entry["prev"] == self.prev.hex(), f"`prev` should be {self.prev.hex()}")
        expect(entry["origin"] == self.origin, "another origin")
        if entry["kind"] == "key.changed":
            self.change_key(entry)
        self.tree.push(leaf)
        self.prev = leaf
        if self.checkpoint and self.checkpoint.size == self.tree.size:
            self.checkpoint.compare(self)


def frame_at(data, at):
    """Kind, check and content of the whole frame at `at`; None where there is none."""
    kind = data[at : at + 1]
    if kind not in LENGTHS or at + HEADER > len(data):
        return None
    (length,) = struct.unpack_from("<I", data, at + 1)
    low, high = LENGTHS[kind]
    if not low <= length <= high or at + HEADER + length > len(data):
        return None
    return kind, data[at + 5 : at + HEADER], data[at + HEADER : at + HEADER + length]


def check_of(digest, mix):
    return bytes(a ^ b for a, b in zip(digest, mix))


def intact_entry_after(data, at, mix):
    for match in re.compile(rb'(?=E.{8}\{"body":)', re.DOTALL).finditer(data, at):
        frame = frame_at(data, match.start())
        if frame is None:
            continue
        if mix is not None:
            if check_of(sha256(b"\0", frame[2]), mix) == frame[1]:
                return True
            continue
        try:
            parse_entry(frame[2])
            return True
        except Tampered:
            pass
    return False


def payload_frame(at, content, check, mix):
    """Offset, length, digest (None: pruned) and check; None where the check is wrong."""
    digest = None if not any(content) else sha256(b"keepgate/v1/payload\0", content)
    if digest is not None and check_of(digest, mix) != check:
        return None
    return at, len(content) - SALT, digest, check


def match_payloads(log, entry, waiting, mix):
    named = sorted(entry["payloads"].items())
    expect(len(named) == len(waiting), f"{len(waiting)} payloads come before it")
    for (name, payload), (at, length, digest, check) in zip(named, waiting):
        wanted = bytes.fromhex(payload["digest"])
        fits = (payload["at"], payload["len"]) == (at, length) and digest in (None, wanted)
        expect(fits and check_of(wanted, mix) == check, f"payload `{name}` is another")
        log.pruned += digest is None


def verify_segment(log, data, last):
    """Gives the offset behind the last whole entry."""
    at, end, mix, waiting = 0, 0, None, []
    while at < len(data):
        frame = frame_at(data, at)
        if frame is None:
            break
        kind, check, content = frame
        used = mix or bytes(4)
        if kind == b"P":
            payload = payload_frame(at, content, check, used)
            if payload is None:
                break
            waiting.append(payload)
        else:
            leaf = sha256(b"\0", content)
            if check_of(leaf, used) != check:
                break
            try:
                entry = parse_entry(content)
                match_payloads(log, entry, waiting, used)
                log.append(entry, leaf, mix is None)
            except Tampered as error:
                raise Tampered(f"offset {at}, entry {log.tree.size}: {error}") from error
            mix, waiting, end = mix or leaf[:4], [], at + HEADER + len(content)
        at += HEADER + len(content)
    if end < len(data) or mix is None:
        torn = last and not intact_entry_after(data, at + 1, mix)
        expect(torn, f"offset {at}, entry {log.tree.size}: no whole frame begins here")
    return end


def read_checkpoint(directory):
    try:
        with open(os.path.join(directory, "checkpoint"), "rb") as file:
            return Checkpoint(file.read())
    except FileNotFoundError:
        return None


def verify(directory, wanted):
    checkpoint = read_checkpoint(directory)
    names = sorted(name for name in os.listdir(directory) if name.endswith(".seg"))
    if not names and checkpoint is None:
        raise OSError(f"{directory} holds no log")
    log = Log(checkpoint)
    for index, name in enumerate(names):
        expect(name == f"{log.tree.size:020}.seg", f"segment `{name}`: entries are missing before it")
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
        try:
            end = verify_segment(log, data, index + 1 == len(names))
        except Tampered as error:
            raise Tampered(f"segment `{name}`, {error}") from error
        log.previous = {"bytes": end, "name": name}
    size = log.tree.size
    if checkpoint is None:
        # A log is signed before its second entry.
        expect(size <= 1 and len(names) == 1, "the checkpoint is missing")
    else:
        covered = checkpoint.size
        expect(covered <= size, f"{size} entries, but the checkpoint covers {covered}")
    expect(wanted is None or not size or wanted in log.keys, "the log's key is another")
    return log


def main(arguments):
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        log = verify(arguments[0], arguments[1] if len(arguments) == 2 else None)
    except Tampered as error:
        print(f"tampered: {error}")
        return 20
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    verdict, code = ("ok", 0) if log.checkpoint else ("unsigned", 3)
    print(f"{verdict} {log.tree.size} entries root {log.tree.root().hex()}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
