"""Images for tests, derived from the example images: a layer more, other words in the config."""
import gzip
import hashlib
import io
import json
import os
import tarfile

import support


def layer_of(entries):
    """An archive of TarInfo objects, each with its bytes or None."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry, content in entries:
            entry.size = len(content or b"")
            tar.addfile(entry, io.BytesIO(content or b""))
    return out.getvalue()


def entry(name, kind=tarfile.REGTYPE, mode=0o755, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.linkname = kind, mode, target
    return made


def link(name, target):
    return entry(name, tarfile.SYMTYPE, 0o777, target), None


def derive(path, name, entries=(), base="hello.tar.gz", **config):
    """Write an archive as `docker save` does: the base's layers and one more. Returns its path."""
    with tarfile.open(os.path.join(support.IMAGES, base)) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))[0]
        document = json.load(tar.extractfile(manifest["Config"]))
        layers = [tar.extractfile(one).read() for one in manifest["Layers"]]
    layers = [gzip.decompress(one) if one[:2] == b"\x1f\x8b" else one for one in layers]
    if entries:
        layers.append(layer_of(entries))
    document["rootfs"]["diff_ids"] = ["sha256:" + hashlib.sha256(one).hexdigest() for one in layers]
    document.pop("history", None)
    document["config"].update(config)
    files = {f"{i}.tar": one for i, one in enumerate(layers)}
    files["config.json"] = json.dumps(document).encode()
    files["manifest.json"] = json.dumps([{
        "Config": "config.json", "RepoTags": [name],
        "Layers": [f"{i}.tar" for i in range(len(layers))]}]).encode()
    with open(path, "wb") as file:
        file.write(layer_of((entry(one, mode=0o644), content) for one, content in files.items()))
    return str(path)
