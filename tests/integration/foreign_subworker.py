"""A subworker written from docs/subworker_protocol.md alone, with nothing but the standard library.

It knows these methods: `concat` (joins its inputs), `repeat` (config: msgpack `[count]`), `tree` (a
directory), `info` (what it was told, as JSON text), `fail`, `pass` (its input, without a copy), `steal` (a
path that is not its own), `garbage`, `crash`, `sleep`, `say` (config: two texts
for stdout and stderr), `stray`. `--hello=...` makes it misbehave at its start.
"""

import json
import os
import signal
import socket
import struct
import sys
import time


def pack(value):
    """None, bool, int, float, str, bytes and sequences as msgpack."""
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes([value])
        return b"\xcf" + struct.pack(">Q", value) if value >= 0 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return b"\xdb" + struct.pack(">I", len(data)) + data
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(pack(item) for item in value)


SIZES = {
    0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4),
    0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4),
    0xDC: ("array", 2), 0xDD: ("array", 4),
}  # fmt: skip
NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip


def unpack(data, at=0):
    """One msgpack value (no maps): (the value, where it ends)."""
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 256, at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first in NUMBERS:
        size = struct.calcsize(NUMBERS[first])
        return struct.unpack_from(NUMBERS[first], data, at)[0], at + size
    if 0x90 <= first < 0xA0:
        kind, length = "array", first - 0x90
    elif 0xA0 <= first < 0xC0:
        kind, length = "str", first - 0xA0
    else:
        kind, width = SIZES[first]
        length = int.from_bytes(data[at : at + width], "big")
        at += width
    if kind == "array":
        items = []
        for _ in range(length):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    raw = bytes(data[at : at + length])
    return (raw.decode() if kind == "str" else raw), at + length


class Connection:
    def __init__(self):
        self.socket = socket.socket(fileno=int(os.environ["RAINZMQ_SUBWORKER_FD"]))
        self.file = self.socket.makefile("rb")

    def send(self, message):
        payload = pack(message)
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def receive(self):
        head = self.file.read(4)
        if len(head) < 4:
            sys.exit(0)  # the worker is gone
        return unpack(self.file.read(struct.unpack(">I", head)[0]))[0]


def content(item):
    """The bytes of an input."""
    data, path = item[5], item[6]
    if data is not None:
        return data
    with open(path, "rb") as file:
        return file.read()


def result(data=None, path=None, content_type=None, user=b""):
    return [data, path, content_type, user]


def concat(task):
    return [result(data=b"".join(content(item) for item in task[5]))]


def repeat(task):
    (count,) = unpack(task[4])[0]
    path = os.path.join(task[7], "out")
    with open(path, "wb") as file:
        for _ in range(count):
            file.write(content(task[5][0]))
    return [result(path=path)]


def tree(task):
    path = os.path.join(task[7], "tree")
    os.makedirs(os.path.join(path, "sub"))
    with open(os.path.join(path, "sub", "file"), "w") as file:
        file.write("in a tree")
    return [result(path=path)]


def info(task):
    told = {
        "id": task[0],
        "attempt": task[1],
        "method": task[2],
        "directory_is_empty": os.listdir(task[7]) == [],
        "cpus": task[8],
        "name": task[9],
        "task_type": task[10],
        "labels": [item[0] for item in task[5]],
        "kind": os.environ["RAINZMQ_SUBWORKER"],
    }
    return [result(data=json.dumps(told).encode(), content_type="json", user=b'{"made": "here"}')]


def fail(task):
    raise ValueError("this method always fails")


def pass_on(task):
    return [result(path=task[5][0][6])]


def steal(task):
    os.symlink("../../../secret", os.path.join(task[7], "link"))
    os.symlink("../../..", os.path.join(task[7], "linked"))
    return [result(path=os.path.join(task[7], unpack(task[4])[0][0]))]


def crash(task):
    print("about to crash", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(10)


def sleep(task):
    time.sleep(unpack(task[4])[0][0])
    return []


def say(task):
    """Write the two texts of the config to standard output and error."""
    out, err = unpack(task[4])[0]
    print(out, end="", flush=True)
    print(err, end="", file=sys.stderr, flush=True)
    return []


METHODS = {
    "concat": concat, "repeat": repeat, "tree": tree, "info": info, "fail": fail, "pass": pass_on,
    "steal": steal, "crash": crash, "sleep": sleep, "say": say,
}  # fmt: skip


def run(task):
    start, began = time.time(), time.monotonic()
    ok, error, outputs = True, "", []
    try:
        outputs = METHODS[task[2]](task)
    except Exception as problem:
        ok, error = False, f"{type(problem).__name__}: {problem}"
    duration_us = int((time.monotonic() - began) * 1e6)
    return ["result", task[0], task[1], ok, error, outputs, b"", "a debug line", start, duration_us]


def misbehave(connection, how):
    """What a broken subworker may do instead of a hello."""
    if how == "exit":
        print("text on stdout")
        print("text on stderr", file=sys.stderr)
        sys.exit(3)
    if how == "silent":
        print("waiting for nothing", flush=True)
        time.sleep(60)
    if how == "version":
        connection.send(["hello", 99, os.environ["RAINZMQ_SUBWORKER"], os.getpid(), None])
    if how == "name":
        connection.send(["hello", 1, "somebody-else", os.getpid(), None])
    if how == "garbage":
        connection.socket.sendall(b"\x00\x00\x00\x02\xc1\xc1")
    if how == "huge":
        connection.socket.sendall(b"\xff\xff\xff\xff")
    time.sleep(60)


def main():
    connection = Connection()
    for argument in sys.argv[1:]:
        misbehave(connection, argument.removeprefix("--hello="))
    methods = [*METHODS, "garbage", "stray"]
    connection.send(["hello", 1, os.environ["RAINZMQ_SUBWORKER"], os.getpid(), methods])
    while True:
        message = connection.receive()
        if message[0] == "bye":
            return
        if message[0] != "run":
            continue
        for task in message[2]:
            if task[2] == "garbage":
                connection.socket.sendall(struct.pack(">I", 5) + b"12345")
            elif task[2] == "stray":
                connection.send(["result", [99, 99], 0, True, "", [], b"", "", 0.0, 0])
            else:
                connection.send(run(task))


main()
