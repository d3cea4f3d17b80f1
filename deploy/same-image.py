#!/usr/bin/env python3
"""Compares the last stage of deploy/Dockerfile with an image of deploy/image.py: `deploy/same-image.py IMAGE.tar`.

User, volumes, ports, labels, commands, health check, and the files that are copied: whoever changes one of the two is
told to change the other. Fails too if the build would send the keys of compose-up to the builder.
"""
import json
import pathlib
import re
import shlex
import sys
import tarfile

image = tarfile.open(sys.argv[1])
config = json.load(image.extractfile(json.load(image.extractfile("manifest.json"))[0]["Config"]))["config"]
lines = [line for line in pathlib.Path("deploy/Dockerfile").read_text().splitlines() if not line.startswith("#")]
stages, said = [], {}
for text in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
    word, _, rest = text.strip().partition(" ")
    if word == "FROM":
        stages.append([])
    elif word:
        stages[-1].append((word, rest))
for word, rest in stages[-1]:
    said.setdefault(word, []).append(rest)
labels = dict(pair.split("=", 1) for pair in shlex.split(said["LABEL"][0]))
assert labels == config["Labels"], (labels, config["Labels"])
assert said["USER"] == [config["User"]] and said["VOLUME"] == list(config["Volumes"]), said
assert {f"{port}/tcp" for port in said["EXPOSE"][0].split()} == set(config["ExposedPorts"])
assert json.loads(said["ENTRYPOINT"][0]) == config["Entrypoint"] and json.loads(said["CMD"][0]) == config["Cmd"]
options, _, command = said["HEALTHCHECK"][0].partition(" CMD ")
health = config["Healthcheck"]
assert ["CMD", *json.loads(command)] == health["Test"], command
seconds = {name: int(value) * 10**9 for name, value in re.findall(r"--([a-z-]+)=(\d+)s", options)}
assert seconds == {"interval": health["Interval"], "timeout": health["Timeout"], "start-period": health["StartPeriod"]}
copied = [shlex.split(rest) for rest in said["COPY"]]
assert all("--from=build" in words for words in copied), copied
assert {words[-1] for words in copied} == {config["Entrypoint"][0], *config["Volumes"]}, copied
owned = [words for words in copied if words[-1] in config["Volumes"]]
assert all("--chown=" + config["User"] in words for words in owned), owned
# What the build stage runs is in the context.
ignored = [line for line in pathlib.Path(".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
assert "deploy/compose-data" in ignored, "the keys of compose-up would be sent to the builder"
for path in re.findall(r"deploy/[a-z.]+\.(?:sh|py)", " ".join(rest for _, rest in stages[0])):
    assert pathlib.Path(path).exists(), path
