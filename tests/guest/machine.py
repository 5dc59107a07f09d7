"""A machine of a few bytes under qemu-system-x86_64: its boot sector counts in RAM and prints."""

import json
import os
import socket
import subprocess
import tempfile

QEMU = "qemu-system-x86_64"

# Real mode. [0x7e00] is set to 0, then forever: add one, print it as eight hexadecimal digits and a
# newline to port 0xe9, wait a little.
BOOT_CODE = bytes.fromhex(
    "fa"                    # cli
    "31c0 8ed8 8ed0"        # xor ax,ax; mov ds,ax; mov ss,ax
    "66c706007e00000000"    # mov dword [0x7e00],0
    "66ff06007e"            # again: inc dword [0x7e00]
    "668b1e007e"            # mov ebx,[0x7e00]
    "b90800"                # mov cx,8
    "66c1c304"              # digit: rol ebx,4
    "88d8 240f 0430"        # mov al,bl; and al,15; add al,'0'
    "3c39 7602 0407"        # cmp al,'9'; jbe put; add al,7
    "e6e9"                  # put: out 0xe9,al
    "e2ec"                  # loop digit
    "b00a e6e9"             # mov al,10; out 0xe9,al
    "b9ffff e2fe"           # mov cx,0xffff; wait: loop wait
    "ebd4")                 # jmp again


def boot_sector():
    return BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa"


class Monitor:
    """QMP: `arguments` are for QEMU's command line, accept() follows its start."""

    def __init__(self, path):
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.arguments = ["-qmp", f"unix:{path}"]
        self.events = {}  # When each kind was told last, in seconds.

    def accept(self):
        self.listener.settimeout(60)
        connection = self.listener.accept()[0]
        self.listener.close()
        connection.settimeout(60)
        self.qmp = connection.makefile("rw", encoding="utf-8")
        self.read_message()  # The greeting.
        self.command("qmp_capabilities")

    def close(self):
        """QEMU goes on; a connection keeps the file system of its socket busy."""
        self.qmp.close()

    def read_message(self):
        line = self.qmp.readline()
        if not line:
            raise RuntimeError("QEMU has gone")
        message = json.loads(line)
        if "event" in message:
            time = message["timestamp"]
            self.events[message["event"]] = time["seconds"] + time["microseconds"] / 1e6
        return message

    def last_pause(self):
        """How long the guest stood still the last time, as QEMU's clock has it, in seconds."""
        self.command("query-status")  # Events come before the answer.
        return self.events["RESUME"] - self.events["STOP"]

    def command(self, name, **arguments):
        self.qmp.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            message = self.read_message()
            if "error" in message:
                raise RuntimeError(f"{name}: {message['error']}")
            if "return" in message:
                return message["return"]

    def save_state(self, path):
        """Stops the guest and writes QEMU's stream of its state."""
        self.follow("migrate", f"exec:cat > '{path}'")

    def load_state(self, path):
        """Of a QEMU started with -incoming defer: it takes the state; its guest stands still."""
        self.follow("migrate-incoming", f"exec:cat '{path}'")

    def follow(self, migration, uri):
        self.command("migrate-set-capabilities",
                     capabilities=[{"capability": "events", "state": True}])
        self.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.command(migration, uri=uri)
        while True:
            message = self.read_message()
            if message.get("event") == "MIGRATION":
                status = message["data"]["status"]
                if status == "completed":
                    return
                if status == "failed":
                    raise RuntimeError(f"{migration} has failed")


class Machine(Monitor):
    """A running QEMU. Its guest's lines come from next_count(), QMP goes through command()."""

    def __init__(self, disk, loadvm=None):
        self.folder = tempfile.TemporaryDirectory(prefix="varve-guest-")
        super().__init__(os.path.join(self.folder.name, "qmp"))
        arguments = [QEMU, "-machine", "pc,accel=tcg", "-m", "16M", "-nodefaults", "-display",
                     "none", "-debugcon", "stdio", *self.arguments,
                     "-drive", f"file={disk},format=qcow2,if=ide"]
        if loadvm is not None:
            arguments += ["-loadvm", loadvm]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE)
        self.accept()

    def monitor(self, line):
        answer = self.command("human-monitor-command", **{"command-line": line})
        if answer:
            raise RuntimeError(f"{line}: {answer}")

    def next_count(self):
        """The next whole line the guest prints. The first one after -loadvm may be the end of a
        line that was begun before."""
        while True:
            line = self.process.stdout.readline()
            if not line.endswith(b"\n"):
                raise RuntimeError("the guest has stopped")
            if len(line) == 9:
                return int(line, 16)

    def quit(self):
        """Ends it; the last whole number the guest had printed, or None."""
        self.command("quit")
        lines = [line for line in self.process.stdout.read().split(b"\n")[:-1] if len(line) == 8]
        self.process.wait(timeout=60)
        return int(lines[-1], 16) if lines else None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
