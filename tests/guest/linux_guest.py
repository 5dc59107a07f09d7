"""Linux guests under QEMU's TCG: Debian's cloud kernel and an initramfs made here."""

import os
import shutil
import subprocess
import tempfile

from steps import expect, run

HERE = os.path.dirname(os.path.abspath(__file__))


def find_kernel():
    """The folder tests/lib/kernel.sh fills, or None after saying why there is none."""
    script = os.path.join(HERE, "..", "lib", "kernel.sh")
    done = subprocess.run([script], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr, end="")
        return None
    return done.stdout.strip()


def libraries_of(program):
    """The shared libraries of a program and its loader, by the path it looks for."""
    lines = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    words = [word for line in lines.splitlines() for word in line.split()]
    return sorted({word for word in words if word.startswith("/")})


class Initramfs:
    """An archive in cpio's newc form, as the kernel unpacks it."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.entries = bytearray()
        self.folders = set()
        self.modules = []
        self.count = 0
        for folder in ("dev", "proc", "sys", "tmp", "mnt"):
            self.add_folder(folder)
        self.add_file("bin/busybox", os.path.join(kernel, "busybox"))

    def add_entry(self, name, mode, content=b""):
        self.count += 1
        encoded = name.encode() + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        for part in (b"070701" + b"".join(b"%08x" % field for field in fields) + encoded, content):
            self.entries += part.ljust((len(part) + 3) // 4 * 4, b"\0")

    def add_folder(self, name):
        if name and name not in self.folders:
            self.add_folder(os.path.dirname(name))
            self.folders.add(name)
            self.add_entry(name, 0o40755)

    def add_bytes(self, name, content):
        self.add_folder(os.path.dirname(name))
        self.add_entry(name, 0o100755, content)

    def add_file(self, name, source):
        with open(source, "rb") as file:
            self.add_bytes(name, file.read())

    def add_program(self, name, source):
        self.add_file(name, source)
        for library in libraries_of(source):
            self.add_file(library.lstrip("/"), library)

    def add_modules(self, *paths):
        """Modules by their path below modules/, in the order they are to be loaded. What is not
        there is part of the kernel."""
        for path in paths:
            source = os.path.join(self.kernel, "modules", path)
            if os.path.exists(source):
                self.add_file("lib/" + os.path.basename(path), source)
                self.modules.append(os.path.basename(path))

    def write(self, path, script):
        """`script` runs once the modules are loaded; the guest is switched off at its end."""
        lines = ["#!/bin/busybox sh", "/bin/busybox --install -s /bin", "export PATH=/bin",
                 "mount -t devtmpfs devices /dev", "mount -t proc processes /proc",
                 "mount -t sysfs system /sys", "mount -t tmpfs memory /tmp"]
        lines += [f"insmod /lib/{module}" for module in self.modules]
        lines += [script, "poweroff -f", ""]
        self.add_bytes("init", "\n".join(lines).encode())
        self.add_entry("TRAILER!!!", 0)
        with open(path, "wb") as file:
            file.write(self.entries)


# What a disk on virtio needs, each behind those it needs itself.
DISK_MODULES = tuple(f"{name}.ko" for name in (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk"))

# The initramfs's script of a guest that boots from its disk: the disk's own /sbin/init goes on.
BOOT_FROM_DISK = """mount -t ext4 -o errors=remount-ro /dev/vda /mnt
for folder in proc sys dev; do mount --move /$folder /mnt/$folder; done
exec switch_root /mnt /sbin/init"""


# The last words of such a disk's /sbin/init.
END_OF_INIT = """[ ! -e /dev/vdb ] || umount /more
echo "guest: errors $(cat /sys/fs/ext4/vda/errors_count)"
mount -o remount,ro /
poweroff -f
"""


def counting_init(disks=1):
    """A /sbin/init that counts in RAM until it is told to end. Each number is a file on every disk,
    on the last disk first, and stands in a file that is overwritten, before it is told; what the
    number before left there is read again from the disks. A second disk is mounted at /more."""
    folders = " ".join(("/more", "/data")[-disks:])
    return f"""{"mount -t ext4 -o errors=remount-ro /dev/vdb /more" if disks > 1 else ""}
right() {{ # FILE NUMBER
  for folder in {folders}; do
    [ "$(cat $folder/$1)" = "number $2" ] || echo "guest: lost $folder/$1 of $2"
  done
}}
n=0
while [ -e /data/$((n + 1)) ]; do
  n=$((n + 1))
  right $n $n
done
echo "guest: found $n"
first=$n
(read -r word && >/dev/end) </dev/console &
while [ ! -e /dev/end ]; do
  echo 3 >/proc/sys/vm/drop_caches
  [ $n = $first ] || right $n $n
  [ $n = $first ] || right now $n
  n=$((n + 1))
  for folder in {folders}; do
    echo "number $n" >$folder/new
    sync
    mv $folder/new $folder/$n
    echo "number $n" >$folder/now
    sync
  done
  echo "guest: count $n"
done
number=1
while [ $number -le $n ]; do
  right $number $number
  number=$((number + 1))
done
"""


def write_disk(path, kernel, init, megabytes):
    """A raw disk with an ext4 file system: busybox, and `init`, a script, as the first program. At
    its end it tells the file system's errors and switches the guest off."""
    with tempfile.TemporaryDirectory(prefix="varve-guest-") as root:
        for folder in ("bin", "sbin", "proc", "sys", "dev", "data", "more"):
            os.mkdir(os.path.join(root, folder))
        shutil.copy(os.path.join(kernel, "busybox"), os.path.join(root, "bin/busybox"))
        with open(os.path.join(root, "sbin/init"), "w", encoding="utf-8") as file:
            file.write("#!/bin/busybox sh\n/bin/busybox --install -s /bin\n" + init + END_OF_INIT)
            os.fchmod(file.fileno(), 0o755)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", root, path, f"{megabytes}M"],
                       check=True, stdout=subprocess.DEVNULL)


class GuestDisk:
    """A qcow2 image that a guest boots from, as write_disk makes it, and its initramfs."""

    def __init__(self, varve, kernel, folder, init, megabytes):
        self.varve = varve
        self.kernel = kernel
        self.folder = folder
        self.disk = os.path.join(folder, "disk.qcow2")
        self.raw = os.path.join(folder, "disk.raw")
        self.initramfs = os.path.join(folder, "initramfs")
        initramfs = Initramfs(kernel)
        initramfs.add_modules(*DISK_MODULES)
        initramfs.write(self.initramfs, BOOT_FROM_DISK)
        write_disk(self.raw, kernel, init, megabytes)
        run(varve, "convert", "-f", "raw", "-O", "qcow2", self.raw, self.disk)

    def check_file_system(self, what, image):
        """The file system in an image is clean after its journal; it is left in `self.raw` so."""
        run(self.varve, "convert", "-O", "raw", image, self.raw)
        replayed = subprocess.run(["e2fsck", "-p", "-E", "journal_only", self.raw], check=False,
                                  capture_output=True)
        expect(replayed.returncode in (0, 1), f"{what}: {replayed.stdout.decode()}")
        clean = subprocess.run(["e2fsck", "-f", "-n", self.raw], check=False, capture_output=True)
        expect(clean.returncode == 0, f"{what}: e2fsck says {clean.stdout.decode()}")


def qemu_arguments(kernel, initramfs, *more, words=""):
    """A machine whose console is QEMU's standard output; `words` reach its /proc/cmdline."""
    return ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "128M", "-nodefaults",
            "-display", "none", "-serial", "stdio", "-no-reboot",
            "-kernel", os.path.join(kernel, "vmlinuz"), "-initrd", initramfs,
            "-append", f"console=ttyS0 quiet panic=-1 {words}", *more]


class LinuxGuest:
    """A running guest; its console line by line."""

    def __init__(self, arguments):
        self.lines = []
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def take(self, line):
        self.lines.append(line.decode(errors="replace").strip())
        return self.lines[-1]

    def wait_for(self, beginning):
        """The rest of the first line that begins so."""
        for line in iter(self.process.stdout.readline, b""):
            text = self.take(line)
            if text.startswith(beginning):
                return text[len(beginning):].strip()
        raise SystemExit(f"the guest ended before '{beginning}':\n" + "\n".join(self.lines[-60:]))

    def take_printed(self):
        """The whole lines there are by now; of a guest that is stopped, all it has printed."""
        os.set_blocking(self.process.stdout.fileno(), False)
        text = self.process.stdout.read() or b""
        os.set_blocking(self.process.stdout.fileno(), True)
        return [self.take(line) for line in text.split(b"\n")[:-1]]

    def wait_for_end(self):
        for line in self.process.stdout:
            self.take(line)
        self.process.wait(timeout=60)

    def kill(self):
        """As if its power were lost."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class CountingGuest(LinuxGuest):
    """A guest whose disk's /sbin/init is counting_init's."""

    def counts(self):
        return [int(line.split()[-1]) for line in self.lines if line.startswith("guest: count")]

    def count_to(self, number):
        while (count := int(self.wait_for("guest: count"))) < number:
            pass
        return count

    def last_count(self):
        """Of a guest that is stopped: the last number it has told."""
        self.take_printed()
        return self.counts()[-1]

    def end(self):
        """Ends it in order, whole and without a lost file; the counts it told."""
        self.process.stdin.write(b"end\n")
        self.process.stdin.flush()
        expect(self.wait_for("guest: errors") == "0", "errors of the file system")
        self.wait_for_end()
        self.kill()
        lost = [line for line in self.lines if line.startswith("guest: lost")]
        expect(not lost, lost)
        return self.counts()
