#!/usr/bin/env python3
"""Writes the bill of materials of the program as CycloneDX JSON: `deploy/sbom.py > signonce.cdx.json`.

From Cargo.lock, by way of `cargo metadata`: every crate the program is built from, with version, licence and hash.
"""
import json
import pathlib
import subprocess
import tomllib

root = pathlib.Path(__file__).resolve().parent.parent
metadata = json.loads(subprocess.run(
    ["cargo", "metadata", "--locked", "--format-version=1"], cwd=root, check=True, capture_output=True).stdout)
hashes = {(p["name"], p["version"]): p.get("checksum")
          for p in tomllib.loads((root / "Cargo.lock").read_text())["package"]}
packages = {p["id"]: p for p in metadata["packages"]}
nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}

# What is linked or run to build it; dev-dependencies are not part of the program.
program = next(p for p in metadata["packages"] if p["name"] == "signonce")
seen, todo = set(), [program["id"]]
while todo:
    at = todo.pop()
    if at in seen:
        continue
    seen.add(at)
    todo += [d["pkg"] for d in nodes[at]["deps"] if any(k["kind"] != "dev" for k in d["dep_kinds"])]


def component(package):
    made = {
        "type": "application" if package["id"] == program["id"] else "library",
        "bom-ref": f"pkg:cargo/{package['name']}@{package['version']}",
        "name": package["name"],
        "version": package["version"],
        "purl": f"pkg:cargo/{package['name']}@{package['version']}",
    }
    if package["license"]:
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if hashes.get((package["name"], package["version"])):
        made["hashes"] = [{"alg": "SHA-256", "content": hashes[package["name"], package["version"]]}]
    return made


print(json.dumps({
    "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
    "metadata": {"component": component(program)},
    "components": sorted((component(packages[i]) for i in seen - {program["id"]}), key=lambda c: c["bom-ref"]),
}, indent=1))
