"""nbdkit with the plugin, as tests start and end it."""

import os
import re
import signal
import socket
import subprocess

from steps import expect, run


PRELOAD = os.environ.get("VARVE_NBDKIT_PRELOAD")


def nbdkit(*arguments):
    """A command that runs nbdkit; a sanitized plugin needs its runtime loaded first. nbdkit's own
    strndup takes texts without an end, which strict checks of strings refuse."""
    options = os.environ.get("ASAN_OPTIONS", "") + ":strict_string_checks=0"
    sanitized = ["env", f"LD_PRELOAD={PRELOAD}", f"ASAN_OPTIONS={options}"] if PRELOAD else []
    return [*sanitized, "nbdkit", *arguments]


def refusal(*arguments):
    """What an nbdkit says that must not start."""
    command = nbdkit("-U", "-", *arguments, "--run", PLAIN + "true")
    if not PRELOAD:
        return run(*command, expect=1)
    # An nbdkit that has failed would wait forever: see wait_for_exit.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("nbdkit: error: "):
            break
    process.kill()
    process.communicate()
    expect("AddressSanitizer" not in said and "nbdkit: error: " in said, said)
    return said


def leaks_only_of_nbdkit(log):
    """Whether that is all a sanitizer found: nbdkit leaks a little itself. Once the plugin is
    unloaded, a frame of its own has no module."""
    frames = re.findall(r"^ +#\d+ .*$", log, re.M)
    return ("ERROR: LeakSanitizer" in log and "ERROR: AddressSanitizer" not in log
            and "runtime error" not in log
            and all("/nbdkit+" in frame or "__interceptor" in frame for frame in frames))


# For nbdkit's --run: what it runs is not sanitized.
PLAIN = "unset LD_PRELOAD; "


class Server:
    """A running nbdkit. It is given a socket that listens already, so nobody waits for it."""

    count = 0

    def __init__(self, plugin, folder, *parameters, options=()):
        Server.count += 1
        self.path = os.path.join(folder, f"nbd{Server.count}")
        self.uri = f"nbd+unix:///?socket={self.path}"
        self.log_path = self.path + ".log"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(16)
        # As a service manager passes it: descriptor 3, for the process of this number.
        script = 'exec 3<&"$0"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", script, str(listener.fileno()),
                 *nbdkit(*options, plugin, *parameters)],
                pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        listener.close()

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def stop(self):
        """Ends it in order; what it said."""
        self.process.send_signal(signal.SIGTERM)
        code = self.wait_for_exit()
        log = self.log()
        expect(code == 0 or (PRELOAD and leaks_only_of_nbdkit(log)),
               f"nbdkit ended with {code}: {log}")
        return log

    def wait_for_exit(self):
        """Its exit code. With a preloaded runtime an nbdkit that has told the words of an errno
        waits forever in the very end of its exit, whatever the plugin (libp11-kit, which it links,
        frees its locale there). Then it is killed, and that is 0: errors would have ended it
        before, and leaks are looked for where servers end without such words."""
        try:
            return self.process.wait(timeout=15 if PRELOAD else 60)
        except subprocess.TimeoutExpired:
            threads = len(os.listdir(f"/proc/{self.process.pid}/task"))
            expect(PRELOAD and threads == 1, f"nbdkit does not end: {self.log()}")
            self.kill()
            return 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            if kind is None:
                self.stop()
            else:
                self.kill()
                print(self.log())
