#!/usr/bin/env python3
"""Fails where something that is fetched may be another thing tomorrow: images without a digest, Python packages without
hashes, in whatever of this repository builds, tests or deploys."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
# Built here, or named by whoever runs it.
OURS = re.compile(r"^(\$\{(SIGNONCE|VALIDATOR)_IMAGE:-[^}]*\}|scratch)$")


def files():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True)
    names = listed.stdout.split() or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
    for name in names:
        path = ROOT / name
        if path.is_file() and path != pathlib.Path(__file__).resolve() and path.suffix in ("", ".yaml", ".yml", ".sh", ".py", ".txt") and path.stat().st_size < 1 << 20:
            try:
                yield name, path.read_text()
            except UnicodeDecodeError:
                continue


def images(name, text):
    base = pathlib.Path(name).name
    if "Dockerfile" in base or "Containerfile" in base:
        stages = set()
        for image, stage in re.findall(r"^FROM +(?:--\S+ +)*(\S+)(?: +AS +(\S+))?", text, re.MULTILINE | re.IGNORECASE):
            if image not in stages:
                yield image
            stages.add(stage)
    elif "compose" in base and base.endswith((".yaml", ".yml")):
        yield from (image.strip("\"'") for image in re.findall(r"^ *image: *(\S+)", text, re.MULTILINE))


def installs(text):
    """Calls of pip that fetch something by its name."""
    for line in text.replace("\\\n", " ").splitlines():
        if re.search(r"\bpip3?\"? +(-\S+ +)*(install|download)\b", line) and not line.lstrip().startswith("#") and "--require-hashes" not in line:
            yield line.strip()


def main():
    wrong, counted = [], 0
    for name, text in files():
        for image in images(name, text):
            counted += 1
            if not DIGEST.search(image) and not OURS.match(image):
                wrong.append(f"{name}: the image {image} has no digest")
        wrong += [f"{name}: Python packages without hashes: {line}" for line in installs(text)]
    for lock in sorted((ROOT / "scripts/python").glob("*.txt")):
        for entry in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text())[1:]:
            counted += 1
            if "==" not in entry.split("\\")[0] or "--hash=sha256:" not in entry:
                wrong.append(f"{lock.name}: {entry.split()[0]} has no version or no hash")
    if wrong or not counted:
        sys.exit("\n".join(wrong) or "nothing was found to look at")
    print(f"{counted} images and packages are what they were")


if __name__ == "__main__":
    main()
