"""Rows about whole images: a snapshot's life, and checking."""

from comparing.runner import BLOCK, CLUSTER, settle

# What one L2 table of a default image maps.
TABLE_COVERS = CLUSTER // 8 * CLUSTER
FEW_TABLES = 10


def big_image(bench, which):
    """An image of which only the tables exist. Two groups may share it."""
    size = bench.size.snapshot_disks[which]

    def make():
        bench.say(f"  creating an image of {size >> 30} GiB, metadata preallocated")
        return bench.create(bench.disk / f"big-{which}.qcow2", size, "metadata")
    return bench.made_once(("big", which), make)


def touch_tables(bench, image, count):
    """Writes behind so many L2 tables, so that a snapshot's and the disk's differ."""
    bench.run_load("requests", image, write=1, count=count, depth=8, step=TABLE_COVERS,
                   bytes=BLOCK)


class Snapshots:
    """Create, write to every table, apply, write to ten, apply, delete; the file synced before
    every step, its tables in the page cache. Figures are times of the whole process, opening and
    closing included; the pause is what the library reports (QEMU stops the guest for the whole
    of create)."""

    def __init__(self, label, which, rows):
        self.name = f"snapshots-{label}"
        self.which = which
        self.steps = rows
        self.rows = list(rows.values())

    def programs(self, _bench):
        return ["varve", "qemu"]

    def prepare(self, bench):
        big_image(bench, self.which)

    def take_step(self, bench, program, image, step):
        settle(image)
        if program == "varve":
            sample = bench.run_load(step, image, name="here")
            return {**sample, "figure": sample["process_seconds"]}
        letter = {"create": "-c", "apply": "-a", "delete": "-d"}[step]
        _, seconds = bench.run(bench.qemu, "snapshot", letter, "here", image)
        return {"figure": seconds}

    def measure(self, bench, program):
        image = big_image(bench, self.which)
        tables = bench.size.snapshot_disks[self.which] // TABLE_COVERS
        found = {"create": self.take_step(bench, program, image, "create")}
        touch_tables(bench, image, tables)
        found["apply"] = self.take_step(bench, program, image, "apply")
        touch_tables(bench, image, min(FEW_TABLES, tables))
        found["apply-few"] = self.take_step(bench, program, image, "apply")
        found["delete"] = self.take_step(bench, program, image, "delete")
        pause = found["create"].get("pause_seconds")
        found["pause"] = {} if pause is None else {"figure": pause}
        return {self.steps[step].name: sample for step, sample in found.items()}

    def clean_up(self, bench):
        pass


class Guest:
    """The same life beside a guest that reads 4 KiB all over the disk: at depth 1 the longest time
    between two of its completions, at depth 32 the share of its pace it keeps."""

    def __init__(self, label, which, gaps, share):
        self.name = f"guest-{label}"
        self.which = which
        self.gaps, self.share = gaps, share
        self.rows = [*gaps.values(), share]

    def programs(self, _bench):
        return ["varve"]

    def prepare(self, bench):
        big_image(bench, self.which)

    def measure(self, bench, _program):
        image = big_image(bench, self.which)
        tables = bench.size.snapshot_disks[self.which] // TABLE_COVERS
        found = {}
        for step, row in self.gaps.items():
            if step == "apply":
                touch_tables(bench, image, tables)
            settle(image)
            sample = bench.run_load(step, image, name="here", guest=1)
            found[row.name] = {**sample, "figure": sample["beside"]["longest_gap"]}
        settle(image)
        sample = bench.run_load("create", image, name="here", guest=32)
        bench.run_load("delete", image, name="here")
        pace = [sample[when]["requests"] / sample[when]["seconds"]
                for when in ("beside", "undisturbed")]
        found[self.share.name] = {**sample, "figure": pace[0] / pace[1]}
        return found

    def clean_up(self, bench):
        pass


class Check:
    def __init__(self, row, which):
        self.rows = [row]
        self.name = row.name
        self.which = which

    def programs(self, _bench):
        return ["varve", "qemu"]

    def prepare(self, bench):
        big_image(bench, self.which)

    def measure(self, bench, program):
        image = big_image(bench, self.which)
        settle(image)
        command = bench.varve if program == "varve" else bench.qemu
        _, seconds = bench.run(command, "check", "-q", "-f", "qcow2", image)
        return {self.name: {"figure": seconds}}

    def clean_up(self, bench):
        pass
