"""An NBD client of a few lines, for what the usual ones do not do: many requests in flight whose
answers are told apart, half a request, an end without a word. From the protocol's specification:
fixed newstyle, simple replies."""

import socket
import struct

READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
FUA = 1

OPTION_MAGIC = 0x49484156454f5054
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.in_flight = {}  # Cookie: bytes of data its reply carries.
        self.next_cookie = 0
        greeting = self.receive(18)
        assert greeting[:16] == b"NBDMAGICIHAVEOPT", greeting
        self.socket.sendall(struct.pack(">I", 3))  # Fixed newstyle, no zeroes.
        self.socket.sendall(struct.pack(">QII", OPTION_MAGIC, 1, 0))  # Export the default.
        self.size, self.flags = struct.unpack(">QH", self.receive(10))

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the server has gone")
            data += piece
        return data

    def send(self, command, offset=0, length=0, data=b"", flags=0):
        """Starts a request; its cookie."""
        cookie = self.next_cookie
        self.next_cookie += 1
        length = len(data) if command == WRITE else length
        self.in_flight[cookie] = length if command == READ else 0
        self.socket.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset,
                                        length) + data)
        return cookie

    def reply(self):
        """The next answer: cookie, errno, data."""
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == REPLY_MAGIC, magic
        length = self.in_flight.pop(cookie)
        return cookie, error, self.receive(length) if length and not error else b""

    def ask(self, command, offset=0, length=0, data=b"", flags=0):
        """One request, with nothing else in flight: errno and data."""
        self.send(command, offset, length, data, flags)
        _, error, read = self.reply()
        return error, read

    def must(self, *arguments, **more):
        error, read = self.ask(*arguments, **more)
        if error != 0:
            raise OSError(error, f"NBD request {arguments}")
        return read

    def vanish(self):
        """Closes the connection with whatever is in flight."""
        self.socket.close()

    def disconnect(self):
        self.send(DISCONNECT)
        self.socket.close()
