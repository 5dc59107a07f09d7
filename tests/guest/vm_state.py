"""Reads the VM state of a snapshot by the letter of the qcow2 specification, and nothing else."""

import struct


def read_vm_state(path, name):
    with open(path, "rb") as file:
        def at(offset, size):
            file.seek(offset)
            return file.read(size).ljust(size, b"\0")

        cluster_bits, disk_size = struct.unpack(">IQ", at(20, 12))
        snapshots, table = struct.unpack(">IQ", at(60, 12))
        cluster = 1 << cluster_bits
        entries = cluster // 8
        for _ in range(snapshots):
            (l1, l1_size, id_size, name_size, _, _, _, state_size,
             extra_size) = struct.unpack(">QIHHIIQII", at(table, 40))
            extra = at(table + 40, extra_size)
            found = at(table + 40 + extra_size + id_size, name_size).decode()
            if extra_size >= 16:
                state_size, disk_size = struct.unpack(">QQ", extra[:16])
            if found == name:
                break
            table += (40 + extra_size + id_size + name_size + 7) // 8 * 8
        else:
            raise KeyError(name)
        first = -(-disk_size // (cluster * entries))
        state = bytearray()
        while len(state) < state_size:
            number = len(state) // cluster
            slot = first + number // entries
            l2 = struct.unpack(">Q", at(l1 + 8 * slot, 8))[0] & 0x00fffffffffffe00 \
                if slot < l1_size else 0
            entry = struct.unpack(">Q", at(l2 + 8 * (number % entries), 8))[0] if l2 else 0
            host = entry & 0x00fffffffffffe00
            state += at(host, cluster) if host and not entry & 1 else bytes(cluster)
        return bytes(state[:state_size])
