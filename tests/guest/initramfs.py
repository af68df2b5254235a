"""An archive in cpio's newc format, from which a kernel begins."""
import os
import stat


class Initramfs:
    def __init__(self, path):
        self.file = open(path, "wb")
        self.made = set()
        self.inode = 0

    def entry(self, name, mode, data):
        self.inode += 1
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        body = header + name.encode() + b"\0"
        self.file.write(body + b"\0" * (-len(body) % 4))
        self.file.write(data + b"\0" * (-len(data) % 4))

    def directory(self, name):
        if name and name not in self.made:
            self.directory(os.path.dirname(name))
            self.made.add(name)
            self.entry(name, stat.S_IFDIR | 0o755, b"")

    def data(self, name, data, mode=0o644):
        self.directory(os.path.dirname(name))
        self.entry(name, stat.S_IFREG | mode, data)

    def copy(self, source, name):
        with open(source, "rb") as file:
            self.data(name, file.read(), 0o755 if os.access(source, os.X_OK) else 0o644)

    def close(self):
        self.entry("TRAILER!!!", 0, b"")
        self.file.close()
