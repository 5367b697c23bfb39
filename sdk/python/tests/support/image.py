"""A Python image made of this machine's own files, so that no test needs the internet."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("sh", "echo", "mkdir", "ls", "cat", "sleep", "base64", "chmod", "stat", "env", "touch", "true", "id")
# Parts of the standard library that no test uses, and that are most of it.
LEFT_OUT = {
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "ensurepip",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "pydoc_data",
}


@dataclass(frozen=True)
class Image:
    """The blobs of an image by their digests, and the digest of its manifest."""

    blobs: dict[str, bytes]
    manifest: str


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def python_image() -> Image:
    """An image with python, sh and a few programs, and a file under /testbed."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _Root(tar).fill()
    plain = layer.getvalue()
    packed = gzip.compress(plain, compresslevel=1)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[_machine()]
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": digest(packed),
                    "size": len(packed),
                }
            ],
        }
    ).encode()
    return Image({digest(blob): blob for blob in (config, packed, manifest)}, digest(manifest))


def _machine() -> str:
    import platform

    return platform.machine()


class _Root:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._there: set[str] = set()

    def fill(self) -> None:
        for name in ("tmp", "testbed", "root", "etc"):
            self._folder(name)
        self._text("testbed/app.py", "def double(n):\n    return n + n + 1\n")
        self._text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self._text("etc/group", "root:x:0:\n")
        for program in PROGRAMS:
            found = shutil.which(program)
            assert found, f"the tests need {program}"
            self._program(found, f"bin/{program}")
        self._python()

    def _python(self) -> None:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # Of a virtual environment, the Python that it was made with.
        binary = Path(sys.base_prefix, "bin", version)
        if not binary.exists():
            binary = Path(sys.executable).resolve()
        self._program(str(binary), f"usr/local/bin/{version}")
        for link in ("python", "python3"):
            self._link(f"usr/local/bin/{link}", version)
        library = Path(sysconfig.get_path("stdlib"))
        for file in sorted(library.rglob("*")):
            inside = file.relative_to(library)
            if LEFT_OUT.intersection(inside.parts) or inside.parts[0].startswith("config-") or not file.is_file():
                continue
            if file.suffix == ".so":
                self._libraries(str(file))
            self._file(file, f"usr/local/lib/{version}/{inside}")

    def _program(self, source: str, target: str) -> None:
        self._file(Path(source).resolve(), target)
        self._libraries(source)

    def _libraries(self, source: str) -> None:
        told = subprocess.run(["ldd", source], capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE):
            self._file(Path(path).resolve(), path.lstrip("/"))

    def _parents(self, target: str) -> None:
        for parent in reversed(Path(target).parents):
            if str(parent) != ".":
                self._folder(str(parent))

    def _folder(self, target: str) -> None:
        if target not in self._there:
            self._there.add(target)
            info = tarfile.TarInfo(target)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            self._tar.addfile(info)

    def _link(self, target: str, to: str) -> None:
        info = tarfile.TarInfo(target)
        info.type, info.linkname = tarfile.SYMTYPE, to
        self._tar.addfile(info)

    def _text(self, target: str, text: str) -> None:
        self._add(target, text.encode(), 0o644)

    def _file(self, source: Path, target: str) -> None:
        if target not in self._there:
            self._add(target, source.read_bytes(), 0o755 if source.stat().st_mode & 0o100 else 0o644)

    def _add(self, target: str, data: bytes, mode: int) -> None:
        self._parents(target)
        self._there.add(target)
        info = tarfile.TarInfo(target)
        info.size, info.mode = len(data), mode
        self._tar.addfile(info, io.BytesIO(data))
