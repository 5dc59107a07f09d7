"""Goal: snapshots of a running export, taken and undone through its control socket, are those of
the disk at that moment, and nothing that is no command changes anything. Method: `varve ctl` while
a client writes; then nonsense from a seed, half sentences, and clients that leave.

Usage: control_test.py VARVE PLUGIN
"""

import contextlib
import json
import os
import random
import socket
import stat
import sys
import tempfile

from nbd_client import FLUSH, READ, WRITE, Client
from server import Server, refusal
from steps import cannot_run, expect, lacking, run

BLOCK = 65536
BLOCKS = 64


class Export:
    """A served image, its control socket, and a client that writes."""

    def __init__(self, varve, plugin, folder):
        self.varve = varve
        self.plugin = plugin
        self.folder = folder
        self.image = os.path.join(folder, "disk.qcow2")
        self.socket = os.path.join(folder, "control")
        run(varve, "create", "-f", "qcow2", self.image, f"{BLOCK * BLOCKS}")
        self.start()

    def start(self):
        self.server = Server(self.plugin, self.folder, f"file={self.image}",
                             f"control={self.socket}")
        self.client = Client(self.server.path)

    def stop(self):
        self.client.disconnect()
        self.server.stop()
        run(self.varve, "check", self.image)

    def ctl(self, *arguments, code=0):
        return run(self.varve, "ctl", self.socket, *arguments, expect=code)

    def ask(self, *arguments):
        return json.loads(self.ctl(*arguments, "--json"))

    def write(self, number):
        """Every block says `number`, some requests still in flight while others are answered."""
        for block in range(BLOCKS):
            self.client.send(WRITE, block * BLOCK, data=number.to_bytes(4, "little") * (BLOCK // 4))
            while len(self.client.in_flight) > 8:
                expect(self.client.reply()[1] == 0, "a write")
        while self.client.in_flight:
            expect(self.client.reply()[1] == 0, "a write")

    def numbers(self, client=None):
        read = (client or self.client).must(READ, 0, BLOCK * BLOCKS)
        return {int.from_bytes(read[at:at + 4], "little") for at in range(0, len(read), 512)}

    def speak(self, data, lines=1):
        """Bytes as they are; so many lines of answers, or what came until the other side closed."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(self.socket)
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while answer.count(b"\n") < lines:
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    answer += piece
            return [json.loads(line) for line in answer.splitlines()]


def orders(export):
    """create, list, status, apply, delete."""
    expect(export.ask("list") == [], "snapshots of a new disk")
    export.write(1)
    made = export.ask("create", "one")
    expect(made["id"] == "1" and len(made["uuid"]) == 36, made)
    export.write(2)
    print(export.ctl("create", "two"), end="")
    export.write(3)
    listed = export.ask("list")
    expect([one["name"] for one in listed] == ["one", "two"], listed)
    expect(listed[1]["parent"] == listed[0]["uuid"] == made["uuid"], listed)
    print(export.ctl("list"), end="")
    status = export.ask("status")
    expect(status["snapshots"] == 2 and status["disk-size"] == BLOCK * BLOCKS and
           status["clients"] == 1 and status["operation"] == "", status)
    print(export.ctl("status"), end="")
    export.ctl("apply", "one")
    expect(export.numbers() == {1}, "the first snapshot is not back")
    export.ctl("apply", made["uuid"])
    export.ctl("apply", "2")
    expect(export.numbers() == {2}, "the second snapshot is not back")
    print(export.ctl("delete", "one"), end="")
    expect([one["name"] for one in export.ask("list")] == ["two"], "one is still there")
    export.write(4)
    export.client.must(FLUSH)
    export.stop()
    export.start()
    expect([one["name"] for one in export.ask("list")] == ["two"], "after a restart")
    expect(export.numbers() == {4}, "the disk after a restart")
    export.stop()
    with Server(export.plugin, export.folder, f"file={export.image}", "snapshot=two") as server:
        expect(export.numbers(Client(server.path)) == {2}, "the snapshot served by itself")


def snapshots_of_a_busy_disk(export):
    """A snapshot under writes has, block by block, the round before or the one at work."""
    for turn in range(1, 9):
        data = (turn + 100).to_bytes(4, "little") * (BLOCK // 4)
        for block in range(BLOCKS):
            export.client.send(WRITE, block * BLOCK, data=data)
            if block == BLOCKS // 2:
                # Meanwhile these are under way, and their answers wait in the socket.
                export.ctl("create", f"round {turn}")
            while len(export.client.in_flight) > 8:
                expect(export.client.reply()[1] == 0, "a write")
        while export.client.in_flight:
            export.client.reply()
    export.stop()
    export.start()
    for turn in range(8, 0, -1):
        export.ctl("apply", f"round {turn}")
        expect(export.numbers() <= {turn + 100, turn + 99 if turn > 1 else 0}, f"round {turn}")
        export.ctl("delete", f"round {turn}")
    export.stop()


def refusals(export):
    def refused(words, *arguments):
        said = export.ctl(*arguments, code=1)
        expect(words in said, f"{arguments}: {said}")
    export.ctl("create", "one")
    refused("there is no such snapshot", "apply", "nothing")
    refused("there is no such snapshot", "delete", "nothing")
    refused("needs a snapshot", "create")
    refused("takes no snapshot", "list", "one")
    refused("There is no command 'settle'", "settle")
    said = run(export.varve, "ctl", export.socket + "x", "list", expect=1)
    expect("No such file or directory" in said, said)
    expect(stat.S_IMODE(os.stat(export.socket).st_mode) == 0o600, "others may command")
    other = os.path.join(export.folder, "other.qcow2")
    run(export.varve, "create", "-f", "qcow2", other, "1M")
    said = refusal(export.plugin, f"file={other}", f"control={export.socket}")
    expect("Address already in use" in said, said)
    with open(os.path.join(export.folder, "file"), "wb"):
        pass
    refusal(export.plugin, f"file={other}", f"control={export.folder}/file")
    expect(os.path.exists(os.path.join(export.folder, "file")), "a file was removed")
    expect([one["name"] for one in export.ask("list")] == ["one"], "the list has changed")
    export.stop()
    expect(not os.path.exists(export.socket), "the socket is left behind")


def nonsense(export, seed):
    source = random.Random(seed)
    export.write(7)
    export.ctl("create", "one")
    before = export.ask("list")
    good = [b'{"command":"list"}', b'{"command":"status"}', b'{"command":"apply","snapshot":"x"}',
            b'{"command":"delete","snapshot":"no"}']
    for turn in range(300):
        kind = turn % 3
        if kind == 0:
            line = source.randbytes(source.randrange(1, 200)).replace(b"\n", b" ")
        elif kind == 1:
            line = bytearray(source.choice(good))
            for _ in range(3):
                line[source.randrange(len(line))] = source.choice(b'{}[]":,\\ux1 \xff')
        else:
            line = source.choice(good)[:source.randrange(1, 15)] + b"}"
        answers = export.speak(bytes(line) + b"\n" + good[1] + b"\n", 2)
        expect(len(answers) == 2 and "status" in answers[1], f"{line}: {answers}")
        expect(set(answers[0]) <= {"error", "list", "status"}, f"{line}: {answers}")
    for length in (16384, 16385, 1 << 20):
        answers = export.speak(b"[" * length + b"\n", 1)
        expect(answers[0]["error"]["code"] == "invalid_argument", answers)
    answers = export.speak(b'{"command":"create","snapshot":"' + b"n" * 20000 + b'"}\n', 9)
    expect([one["error"]["message"] for one in answers] == ["the command is too long"], answers)
    expect(export.ask("list") == before, "nonsense has changed the snapshots")
    expect(export.numbers() == {7}, "nonsense has changed the disk")


def leaving(export):
    """Clients that go in the middle of a word, or before their answer; many at once."""
    silent = []
    for turn in range(12):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(export.socket)
        connection.sendall(b'{"command":"create","snapshot":"left %d"}\n{"comm' % turn)
        if turn % 2:
            connection.close()
        else:
            silent.append(connection)
    names = {one["name"] for one in export.ask("list")}
    expect(names <= {"one"} | {f"left {turn}" for turn in range(12)}, names)
    for connection in silent:
        connection.settimeout(60)
        answer = json.loads(connection.makefile("rb").readline())
        expect("done" in answer or answer["error"]["code"] == "busy", answer)
        connection.close()
    expect(export.numbers() == {7}, "the disk has changed")
    export.stop()


def killed(export):
    """The socket a killed server leaves behind is taken over."""
    export.write(5)
    export.ctl("create", "kept")
    export.server.kill()
    expect(os.path.exists(export.socket), "nothing is left behind")
    said = export.ctl("list", code=1)
    expect("Connection refused" in said, said)
    export.start()
    expect([one["name"] for one in export.ask("list")] == ["kept"], "the snapshot")
    export.ctl("apply", "kept")
    expect(export.numbers() == {5}, "the disk")
    export.stop()


def main():
    if missing := lacking("nbdkit"):
        return cannot_run(missing)
    seed = int(os.environ.get("VARVE_SEED", "1"))
    print(f"VARVE_SEED={seed}")

    def nonsense_and_leaving(export):
        nonsense(export, seed)
        leaving(export)
    for story in (orders, snapshots_of_a_busy_disk, refusals, nonsense_and_leaving, killed):
        with tempfile.TemporaryDirectory(prefix="varve-control-", dir="/var/tmp") as folder:
            print(f"-- {story.__name__.replace('_', ' ')}", flush=True)
            export = Export(*sys.argv[1:3], folder)
            try:
                story(export)
            except BaseException:
                print(export.server.log())
                raise
            finally:
                export.server.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
