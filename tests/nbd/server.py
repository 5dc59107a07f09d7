"""nbdkit with the plugin, as tests start and end it."""

import os
import signal
import socket
import subprocess

from steps import expect


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
        script = 'exec 3<&"$0"; LISTEN_PID=$$ LISTEN_FDS=1 exec nbdkit "$@"'
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", script, str(listener.fileno()), *options, plugin, *parameters],
                pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        listener.close()

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def stop(self):
        """Ends it in order; what it said."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        expect(code == 0, f"nbdkit ended with {code}: {self.log()}")
        return self.log()

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
