"""What the chart renders, read as Kubernetes reads it."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import tomllib

import yaml

TEST = pathlib.Path(__file__).resolve().parent
# Another one to show what a test says of it.
CHART = pathlib.Path(os.environ.get("SIGNONCE_CHART", TEST.parent / "signonce"))
TOOLS = pathlib.Path(os.environ.get("SIGNONCE_TOOLS", pathlib.Path.home() / ".cache/signonce/tools"))


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Takes what is not quoted for what Go's library takes it for, which is more than Python's; no key stands twice."""

    bool_values = yaml.SafeLoader.bool_values | {"y": True, "n": False}

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} twice: {node.start_mark}"
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789"))
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?0o[0-7_]+$"), list("-+0"))
Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value.replace("_", ""), 0)
                       if "o" in node.value else yaml.SafeLoader.construct_yaml_int(loader, node))


class Refused(Exception):
    """What helm said."""


def render(release="n", values=None, files=(), namespace="signers", flags=(), kubernetes="1.31.0"):
    """The objects of `helm template`, without empty documents; `values` go before the files'."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values or {}, file)
        file.flush()
        command = [TOOLS / "helm", "template", release, CHART, "--namespace", namespace, "--kube-version", kubernetes]
        command += [word for path in [*files, file.name] for word in ("-f", path)]
        done = subprocess.run([*command, *flags], capture_output=True, text=True)
    if done.returncode:
        raise Refused(done.stderr)
    return [document for document in yaml.load_all(done.stdout, Loader) if document]


def of_kind(objects, kind):
    return [one for one in objects if one["kind"] == kind]


def only(found):
    assert len(found) == 1, f"one was looked for, {len(found)} are there: {found}"
    return found[0]


def settings(objects):
    """The signonce.toml that all pods share."""
    return tomllib.loads(only([one for one in of_kind(objects, "ConfigMap") if "signonce.toml" in one.get("data", {})])["data"]["signonce.toml"])


def pods(objects):
    """Every specification of pods, with the object that has it."""
    for one in objects:
        if one["kind"] == "Pod":
            yield one, one["spec"]
        elif "template" in one.get("spec", {}):
            yield one, one["spec"]["template"]["spec"]
