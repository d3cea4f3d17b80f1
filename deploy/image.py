#!/usr/bin/env python3
"""Assembles the container image without a container engine: `deploy/image.py BINARY OUT.tar [--tag NAME]`.

The same files as deploy/Dockerfile puts together: the program, the shared libraries it names, a user, and nothing else:
no shell, no package manager. The archive is what `docker load` and `ctr images import` read, and is the same byte for
byte from the same files (times are SOURCE_DATE_EPOCH, or 0).
"""
import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile

UID = 64732
PROGRAM = "/usr/bin/signonce"
# The program looks for itself: there is nothing else in the image that could.
HEALTH = [PROGRAM, "kube", "wait", "--node=127.0.0.1:7303", "--timeout=3"]
ETC = {
    "/etc/passwd": f"root:x:0:0:root:/nonexistent:/sbin/nologin\nsignonce:x:{UID}:{UID}::/nonexistent:/sbin/nologin\n",
    "/etc/group": f"root:x:0:\nsignonce:x:{UID}:\n",
    "/etc/nsswitch.conf": "hosts: files dns\n",
}


def libraries(binary):
    """Where the loader finds what the program is linked with, the loader itself included."""
    listed = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"(/\S+\.so\S*)", listed)))


class Layer:
    def __init__(self, epoch):
        self.buffer, self.epoch, self.made = io.BytesIO(), epoch, set()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)

    def _add(self, path, kind, mode, content=b"", owner=0):
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.mode, info.size, info.mtime = kind, mode, len(content), self.epoch
        info.uid = info.gid = owner
        self.tar.addfile(info, io.BytesIO(content))

    def directory(self, path, mode=0o755, owner=0):
        if path in self.made or path in ("", "/"):
            return
        self.directory(os.path.dirname(path))
        self._add(path, tarfile.DIRTYPE, mode, owner=owner)
        self.made.add(path)

    def file(self, path, content, mode=0o644):
        self.directory(os.path.dirname(path))
        self._add(path, tarfile.REGTYPE, mode, content)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def layer(binary, epoch):
    made = Layer(epoch)
    for library in libraries(binary):
        made.file(library, read(library), 0o755)
    for path, text in ETC.items():
        made.file(path, text.encode())
    made.directory("/tmp", 0o1777)
    made.directory("/var/lib/signonce", 0o700, UID)
    made.file(PROGRAM, read(binary), 0o755)
    return made.bytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("out")
    parser.add_argument("--tag", default="ghcr.io/signonce/signonce:0.1.0")
    args = parser.parse_args()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    content = layer(args.binary, epoch)
    digest = hashlib.sha256(content).hexdigest()
    config = json.dumps({
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {
            "User": f"{UID}:{UID}",
            "Entrypoint": [PROGRAM],
            "Cmd": ["--help"],
            "Env": ["PATH=/usr/bin"],
            "ExposedPorts": {f"{port}/tcp": {} for port in (7300, 7301, 7302, 7303)},
            "Volumes": {"/var/lib/signonce": {}},
            # In nanoseconds.
            "Healthcheck": {"Test": ["CMD", *HEALTH], "Interval": 10 * 10**9, "Timeout": 6 * 10**9, "StartPeriod": 60 * 10**9},
            "Labels": {
                "org.opencontainers.image.title": "signonce",
                "org.opencontainers.image.description": "A remote signer for validators that signs every duty once",
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "deploy/image.py"}],
    }, sort_keys=True).encode()
    name = hashlib.sha256(config).hexdigest()
    manifest = json.dumps([{"Config": f"{name}.json", "RepoTags": [args.tag], "Layers": [f"{digest}/layer.tar"]}])
    with tarfile.open(args.out, "w", format=tarfile.PAX_FORMAT) as out:
        for path, data in ((f"{name}.json", config), (f"{digest}/layer.tar", content), ("manifest.json", manifest.encode())):
            info = tarfile.TarInfo(path)
            info.size, info.mtime = len(data), epoch
            out.addfile(info, io.BytesIO(data))
    print(json.dumps({"image": args.tag, "config": f"sha256:{name}", "layer": f"sha256:{digest}", "bytes": len(content)}))


main()
