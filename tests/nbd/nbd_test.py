"""Goal: an image over NBD is the image. Method: the usual clients (nbdinfo, nbdcopy, qemu-img,
qemu-io, fio) and one of our own against nbdkit with the plugin; what they saw is compared with what
`varve` finds in the file afterwards.

Usage: nbd_test.py VARVE PLUGIN
"""

import contextlib
import errno
import json
import os
import random
import subprocess
import sys
import tempfile

from nbd_client import FLUSH, FUA, READ, TRIM, WRITE, ZEROES, Client
from server import PLAIN, Server, nbdkit, refusal
from small_file_system import small_file_system
from steps import cannot_run, expect, lacking, run

MIB = 1 << 20
PROGRAMS = ("nbdkit", "nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "qemu-system-x86_64", "fio")


class Case:
    """A folder, an image in it, and the two programs under test."""

    def __init__(self, varve, plugin, folder, seed):
        self.varve = varve
        self.plugin = plugin
        self.folder = folder
        self.random = random.Random(seed)
        self.image = os.path.join(folder, "disk.qcow2")

    def create(self, size="64M", *options):
        run(self.varve, "create", "-f", "qcow2", *options, self.image, size)

    def server(self, *parameters, options=()):
        return Server(self.plugin, self.folder, f"file={self.image}", *parameters, options=options)

    def check(self):
        run(self.varve, "check", self.image)
        run("qemu-img", "check", self.image)

    def check_after_kill(self):
        """What was in flight may have left clusters that nobody uses, and nothing worse."""
        done = subprocess.run([self.varve, "check", self.image], check=False,
                              stdout=subprocess.PIPE, text=True)
        expect(done.returncode in (0, 3), f"after a kill: {done.stdout}")
        if done.returncode == 3:
            run("qemu-img", "check", "-r", "leaks", self.image)
        self.check()

    def raw_file(self, size):
        """Runs of random bytes and of nothing."""
        path = os.path.join(self.folder, "disk.raw")
        with open(path, "wb") as file:
            file.truncate(size)
            for _ in range(24):
                file.seek(self.random.randrange(size // 512) * 512)
                file.write(self.random.randbytes(self.random.randrange(1, 512) * 512))
            file.truncate(size)
        return path


def what_it_offers(case):
    case.create()
    with case.server() as server:
        told = json.loads(run("nbdinfo", "--json", server.uri))["exports"][0]
        for name in ("can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero",
                     "can_multi_conn"):
            expect(told[name] is True, f"{name} of a writable disk")
        expect(told["is_read_only"] is False and told["export-size"] == 64 * MIB, told)
        expect(told["block_size_minimum"] == 1 and told["block_size_preferred"] == 65536, told)
    for parameters, options in ((("readonly=true",), ()), ((), ("-r",))):
        with case.server(*parameters, options=options) as server:
            told = json.loads(run("nbdinfo", "--json", server.uri))["exports"][0]
            expect(told["is_read_only"] is True and told["can_trim"] is False, told)


def refusals(case):
    case.create()

    def refused(words, *parameters):
        said = refusal(case.plugin, "lock-timeout=0", *parameters)
        expect(words in said, f"{parameters}: {said}")
    refused("say which image")
    refused("cannot be opened", f"file={case.folder}/nothing.qcow2")
    refused("there is no such snapshot", f"file={case.image}", "snapshot=nothing")
    refused("unknown parameter 'fiel'", f"fiel={case.image}")
    refused("format must be qcow2 or raw", f"file={case.image}", "format=vmdk")
    with case.server() as server:
        Client(server.path).disconnect()
        refused("another program has it open", f"file={case.image}")
        refused("another program has it open", f"file={case.image}", "readonly=true")
    with case.server("readonly=true") as server:
        Client(server.path).disconnect()
        refused("another program has it open", f"file={case.image}")
        run(*nbdkit("-U", "-", case.plugin, f"file={case.image}", "readonly=true", "--run",
                    PLAIN + "nbdinfo $uri"))


class Writer:
    """A program of QEMU's that has the image open for writing. It has once it answers `question`
    with a line that has `answer` in it."""

    def __init__(self, question, answer, *arguments):
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.process.stdin.write(question)
        line = self.process.stdout.readline()
        expect(answer in line, f"{arguments[0]}: {line}{self.process.poll()}")

    def end(self, words):
        self.process.stdin.write(words)
        self.process.communicate(timeout=60)
        expect(self.process.returncode == 0, f"a writer ends with {self.process.returncode}")


def second_writers(case):
    """QEMU's programs and the plugin refuse each other's image, and change nothing in it."""
    case.create()
    machine = ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "16M", "-nodefaults", "-S",
               "-display", "none", "-qmp", "stdio",
               "-drive", f"file={case.image},format=qcow2,if=virtio"]

    def content():
        with open(case.image, "rb") as file:
            return file.read()
    with case.server() as server:
        client = Client(server.path)
        client.must(WRITE, 0, data=b"\x11" * 65536, flags=FUA)
        before = content()
        for command in (["qemu-io", "-f", "qcow2", "-c", "write -P 2 0 64k", case.image],
                        ["qemu-img", "snapshot", "-c", "second", case.image],
                        ["qemu-img", "resize", "-f", "qcow2", case.image, "128M"],
                        ["qemu-img", "convert", "-n", "-O", "qcow2", case.image, case.image],
                        machine):
            said = run(*command, expect=1, stdin=subprocess.DEVNULL)
            expect('Failed to get' in said and "lock" in said, f"{command}: {said}")
            expect(content() == before, f"{command} has changed the image")
        for command in (["io", "-f", "qcow2", "-c", "write -P 2 0 64k", case.image],
                        ["snapshot", "create", case.image, "--name", "second"]):
            said = run(case.varve, *command, expect=1)
            expect(content() == before, f"{command} has changed the image")
        client.must(WRITE, 0, data=b"\x12" * 65536, flags=FUA)
        client.disconnect()
    before = content()
    writers = {
        "qemu-io": lambda: Writer("help map\n", "map", "qemu-io", "-f", "qcow2", case.image),
        "qemu-system": lambda: Writer("", '{"QMP"', *machine)}
    for name, start in writers.items():
        writer = start()
        # QEMU marks the image as open; from here on nobody else writes.
        before = content()
        said = refusal(case.plugin, "lock-timeout=0", case.image)
        expect("another program has it open" in said, f"beside {name}: {said}")
        expect(content() == before, f"the plugin has changed the image of {name}")
        writer.end("quit\n" if name == "qemu-io" else
                   '{"execute":"qmp_capabilities"}{"execute":"quit"}\n')
        print(f"beside {name}: {said.strip().splitlines()[-1]}")
    run("qemu-io", "-f", "qcow2", "-c", "read -P 0x12 0 64k", case.image)
    case.check()


def copies(case):
    """nbdcopy in, nbdcopy out, and qemu-img between the two."""
    raw = case.raw_file(24 * MIB)
    out = os.path.join(case.folder, "out.raw")
    for options in ((), ("-o", "compat=0.10"), ("-o", "cluster_size=4k,extended_l2=off")):
        case.create("24M", *options)
        with case.server() as server:
            run("nbdcopy", "--flush", raw, server.uri)
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri, raw)
            run("nbdcopy", server.uri, out)
            run("cmp", raw, out)
            holes = [part for part in json.loads(run("nbdinfo", "--json", "--map", server.uri))
                     if part["type"] & 2]
            expect(sum(part["length"] for part in holes) > MIB, "no zeros are told of")
        run(case.varve, "compare", "-f", "qcow2", "-F", "raw", case.image, raw)
        case.check()


def snapshots(case):
    raw = case.raw_file(8 * MIB)
    run(case.varve, "convert", "-f", "raw", "-O", "qcow2", raw, case.image)
    run(case.varve, "snapshot", "create", case.image, "--name", "then")
    with case.server() as server:
        run("qemu-io", "-f", "raw", "-c", "write -P 7 0 8M", server.uri)
    with case.server("snapshot=then") as server:
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri, raw)
        client = Client(server.path)
        expect(client.ask(WRITE, data=bytes(512))[0] == errno.EPERM, "a snapshot was written to")
        client.disconnect()
        with case.server("snapshot=1") as second:
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", second.uri, raw)
    case.check()


def qemu_requests(case):
    case.create()
    commands = ["write -P 5 0 1M", "write -z 128k 64k", "write -z -u 256k 128k", "discard 512k 64k",
                "write -P 9 700001 77", "write -z 800001 333", "flush", "write -f -P 3 3M 4k"]
    reads = ["read -P 5 0 128k", "read -P 0 128k 64k", "read -P 0 256k 128k", "read -P 0 512k 64k",
             "read -P 5 576k 107k", "read -P 9 700001 77", "read -P 0 800001 333",
             "read -P 3 3M 4k", "read -P 0 4M 60M"]
    with case.server() as server:
        run("qemu-io", "-f", "raw", *[word for one in commands + reads for word in ("-c", one)],
            server.uri)
        # As the client sees it, and as it stands in the file.
        maps = [run("qemu-img", "map", "--output=json", "-f", "raw", server.uri)]
    run("qemu-io", "-f", "qcow2", *[word for one in reads for word in ("-c", one)], case.image)
    maps.append(run("qemu-img", "map", "--output=json", "-f", "qcow2", case.image))
    for text in maps:
        data = [part for part in json.loads(text) if part["data"]]
        expect(data, text)
        for begin, end in ((128, 192), (256, 384), (512, 576), (4096, 65536)):
            expect(not any(part["start"] < end * 1024 and
                           part["start"] + part["length"] > begin * 1024 for part in data),
                   f"{begin}k to {end}k was zeroed or trimmed, and has data: {text}")
    case.check()


def space_comes_back(case):
    """What QEMU's client trims, or zeroes with leave to unmap, goes back to the file system: behind
    its requests, so it is counted when the server has ended."""
    case.create()

    def bytes_after(*commands):
        with case.server() as server:
            run("qemu-io", "-f", "raw", "-d", "unmap",
                *[word for one in (*commands, "flush") for word in ("-c", one)], server.uri)
        return os.stat(case.image).st_blocks * 512
    tables = MIB // 4  # So much of what is not data may come and go.
    full = bytes_after("write -P 7 0 16M")
    expect(full >= 16 * MIB, f"{full} bytes hold 16 MiB")
    trimmed = bytes_after("discard 0 8M")
    expect(trimmed <= full - 8 * MIB + tables, f"{full} bytes, {trimmed} after a trim of 8 MiB")
    zeroed = bytes_after("write -z -u 8M 8M")
    expect(zeroed <= trimmed - 8 * MIB + tables, f"{trimmed} bytes, {zeroed} after 8 MiB of zeroes")
    kept = bytes_after("write -P 7 0 4M", "write -z 0 4M")
    expect(kept >= zeroed + 4 * MIB - tables,
           f"{zeroed} bytes, {kept} after zeroes that stay allocated")
    print(f"file: {full} bytes; trimmed: {trimmed}; zeroed: {zeroed}; kept: {kept}")
    case.check()


def beyond_the_end(case):
    case.create("1M")
    with case.server() as server:
        client = Client(server.path)
        for command, more in ((READ, {"length": 1024}), (WRITE, {"data": bytes(1024)}),
                              (TRIM, {"length": 1024}), (ZEROES, {"length": 1024})):
            expect(client.ask(command, MIB - 512, **more)[0] != 0, f"command {command} at the end")
        client.must(WRITE, MIB - 512, data=b"\x11" * 512, flags=FUA)
        expect(client.must(READ, MIB - 512, 512) == b"\x11" * 512, "the last sector")
        client.disconnect()
    case.check()


def fio_verifies(case):
    case.create("32M")
    with case.server("parallel=true") as server:
        run("fio", "--name=verify", "--ioengine=nbd", f"--uri={server.uri}", "--rw=randwrite",
            "--bs=4k", "--size=32M", "--io_size=12M", "--iodepth=16", "--fsync=64",
            "--verify=crc32c", "--randrepeat=1", cwd=case.folder)
    case.check()


def one_connection_sees_another(case):
    """What multi-conn promises."""
    case.create()
    with case.server() as server:
        clients = [Client(server.path) for _ in range(4)]
        for turn in range(16):
            writer, reader = case.random.sample(clients, 2)
            offset = case.random.randrange(60 * MIB)
            data = bytes([turn + 1]) * 5000
            writer.must(WRITE, offset, data=data)
            expect(reader.must(READ, offset, 5000) == data, "another connection reads old bytes")
        clients[0].must(WRITE, 0, data=b"\xaa" * 512)
        clients[1].must(FLUSH)
        server.kill()
    with case.server() as server:
        client = Client(server.path)
        expect(client.must(READ, 0, 512) == b"\xaa" * 512, "a flush of another connection is lost")
        client.disconnect()


class Journal:
    """Blocks written with numbers that only grow; what a flush has made sure of."""

    BLOCK = 4096

    def __init__(self, client, source, count):
        self.client = client
        self.random = source
        self.count = count
        self.number = 0
        self.asked = {}    # Cookie: (block, number), or None for a flush.
        self.completed = {}
        self.flushing = {}  # Cookie of a flush: what was complete when it was sent.
        self.durable = {}

    def send_one(self):
        if self.number % 24 == 23:
            cookie = self.client.send(FLUSH)
            self.flushing[cookie] = dict(self.completed)
        else:
            taken = {block for block, _ in self.asked.values()}
            block = self.random.choice([b for b in range(self.count) if b not in taken])
            data = (self.number + 1).to_bytes(8, "little") * (self.BLOCK // 8)
            cookie = self.client.send(WRITE, block * self.BLOCK * 5, data=data)
            self.asked[cookie] = (block, self.number + 1)
        self.number += 1

    def take_reply(self):
        cookie, error, _ = self.client.reply()
        expect(error == 0, f"request {cookie} failed with {error}")
        if cookie in self.flushing:
            self.durable.update(self.flushing.pop(cookie))
        else:
            block, number = self.asked.pop(cookie)
            self.completed[block] = number

    def work(self, requests):
        """Sends so many, sixteen in flight at most, or more until a flush has come back; leaves the
        last in flight."""
        while self.number < requests or not self.durable:
            while len(self.client.in_flight) >= 16:
                self.take_reply()
            self.send_one()

    def compare(self, client):
        for block, number in self.durable.items():
            data = client.must(READ, block * self.BLOCK * 5, self.BLOCK)
            found = int.from_bytes(data[:8], "little")
            expect(found >= number and data == data[:8] * (self.BLOCK // 8),
                   f"block {block}: {found} is there, {number} was flushed")


def killed_server(case):
    case.create("16M")
    for turn in range(4):
        server = case.server(f"parallel={turn % 2 == 0}")
        journal = Journal(Client(server.path), case.random, 600)
        journal.work(case.random.randrange(200, 600))
        server.kill()
        with contextlib.suppress(ConnectionError):
            while True:
                journal.take_reply()
        with case.server() as again:
            client = Client(again.path)
            journal.compare(client)
            client.disconnect()
        case.check_after_kill()
        print(f"kill {turn + 1}: {journal.number} requests, {len(journal.durable)} blocks durable")


def vanishing_clients(case):
    case.create()
    with case.server() as server:
        steady = Client(server.path)
        for turn in range(12):
            client = Client(server.path)
            for _ in range(8):
                client.send(WRITE, case.random.randrange(32 * MIB), data=b"\x5a" * 100000)
                client.send(READ, case.random.randrange(60 * MIB), 20000)
            client.send(READ, case.random.randrange(32 * MIB), 20 * MIB)
            if turn % 2:
                client.socket.sendall(b"\x25\x60\x95\x13\0\0\0\1" + bytes(14))  # Half a request.
            client.vanish()
            data = bytes([turn]) * 4096
            steady.must(WRITE, 40 * MIB + turn * 4096, data=data)
            expect(steady.must(READ, 40 * MIB + turn * 4096, 4096) == data, "the other client")
        # The real thing: a client that is killed.
        copy = subprocess.Popen(["nbdcopy", "--connections=2", "/dev/zero", server.uri],
                                stderr=subprocess.DEVNULL)
        steady.must(READ, 0, 512)
        copy.kill()
        copy.wait()
        steady.must(FLUSH)
        steady.disconnect()
    case.check()


def full_disk(case, kind):
    with small_file_system(case.folder, kind) as mount:
        if mount is None:
            return
        ballast = os.path.join(mount, "ballast")
        with open(ballast, "wb") as file:
            file.write(bytes(5 * MIB))
        case.image = os.path.join(mount, "disk.qcow2")
        case.create("64M")
        with case.server() as server:
            client = Client(server.path)
            written = []
            error = 0
            for at in range(0, 32 * MIB, 65536):
                data = (at // 65536 + 1).to_bytes(4, "little") * 16384
                error = client.ask(WRITE, at, data=data)[0]
                if error != 0:
                    break
                written.append((at, data))
            expect(error == errno.ENOSPC, f"a full disk is told as {error}")
            flushed = client.ask(FLUSH)[0]
            expect(flushed in (0, errno.ENOSPC), f"a flush on a full disk is told as {flushed}")
            for at, data in written:
                expect(client.must(READ, at, 65536) == data, f"{at} on a full disk")
            os.unlink(ballast)
            for at in range(len(written) * 65536, len(written) * 65536 + 2 * MIB, 65536):
                data = b"\x77" * 65536
                client.must(WRITE, at, data=data)
                written.append((at, data))
            client.must(FLUSH)
            server.kill()
        with case.server() as server:
            client = Client(server.path)
            for at, data in written:
                expect(client.must(READ, at, 65536) == data, f"{at} after space came back")
            client.disconnect()
        case.check_after_kill()
        print(f"{kind}: full after {len(written) - 32} writes, then {32} more")


def full_tmpfs(case):
    full_disk(case, "tmpfs")


def full_ext4(case):
    full_disk(case, "ext4")


def main():
    if missing := lacking(*PROGRAMS):
        return cannot_run(missing)
    seed = int(os.environ.get("VARVE_SEED", "1"))
    print(f"VARVE_SEED={seed}")
    cases = [what_it_offers, refusals, second_writers, copies, snapshots, qemu_requests,
             space_comes_back, beyond_the_end, fio_verifies, one_connection_sees_another,
             killed_server, vanishing_clients, full_tmpfs, full_ext4]
    for story in cases:
        with tempfile.TemporaryDirectory(prefix="varve-nbd-", dir="/var/tmp") as folder:
            print(f"-- {story.__name__.replace('_', ' ')}", flush=True)
            story(Case(sys.argv[1], sys.argv[2], folder, seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
