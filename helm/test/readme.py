#!/usr/bin/env python3
"""Writes the table of values into helm/signonce/README.md, from values.yaml and its comments. --check only compares."""
import json
import pathlib
import re
import sys

chart = pathlib.Path(__file__).resolve().parent.parent / "signonce"
BEGIN, END = "<!-- values: written by helm/test/readme.py -->", "<!-- end of values -->"


def rows():
    """Every leaf or flow value of values.yaml, with the comment above it."""
    path, comment = [], []
    for line in (chart / "values.yaml").read_text().splitlines():
        if not line.strip():
            comment = []
            continue
        found = re.match(r"( *)# ?(.*)", line)
        if found:
            comment.append(found.group(2))
            continue
        found = re.match(r"( *)([A-Za-z_]+):(?: (.*))?$", line)
        if not found:
            continue
        depth = len(found.group(1)) // 2
        path[depth:] = [found.group(2)]
        if found.group(3) is not None:
            yield ".".join(path), found.group(3), " ".join(comment)
            comment = []
        elif comment:
            yield ".".join(path), "", " ".join(comment)
            comment = []


def table():
    lines = ["| value | default | |", "|---|---|---|"]
    for name, default, text in rows():
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{name}` | {shown} | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


readme = chart / "README.md"
old = readme.read_text()
head, rest = old.split(BEGIN)
new = head + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]
json.loads((chart / "values.schema.json").read_text())
if "--check" in sys.argv:
    sys.exit(old != new)
readme.write_text(new)
