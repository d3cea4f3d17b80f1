"""Sets every text among the values to something odd, as far as its schema lets it, and looks for it in the renders."""
import concurrent.futures
import json
import re
import sys
import tomllib

import yaml

from names import names
from rendered import CHART, of_kind, render

# What YAML would take for something else, and what would end a text, a line or a template early.
ODD = ["on", "no", "y", "true", "null", "~", "123", "1e3", "0x10", "1_000", "2026-11-29", "12:30:45",
       "a: b", "'a' #b", '{[*a, "b', "&a\\b ", "{{ .Values }}\nключ: @a"]
ORDINARY = ["qzq", "qzr.example/x", "77Gi", "77h", "/qzs"]
# The two that differ most; what only the one has is under the other's conditions.
BASES = {
    "production": {"cluster": {"id": "0123456789abcdef0123456789abcdef"}, "service": {"leader": {"enabled": True}},
                   "tls": {"mode": "certManager", "certManager": {"issuerRef": {"name": "i"}}},
                   "monitoring": {kind: {"enabled": True} for kind in ("serviceMonitor", "prometheusRule", "dashboard")}},
    "trial": {"cluster": {"id": "0123456789abcdef0123456789abcdef"}, "tls": {"mode": "trial"}, "unlock": {"existingSecret": ""}},
}


def takes(schema, text):
    """Whether a schema of a text takes this one."""
    inner = schema.get("not", {}).get("pattern")
    return (
        "enum" not in schema
        and schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 10**6)
        and re.search(schema.get("pattern", "").replace("$", r"\Z"), text) is not None
        and not (inner and re.search(inner, text))
        and all(takes(part, text) for part in schema.get("allOf", []))
    )


def filled(schema, text):
    """Values with each text that may be `text` set to it, and beside them the same values with an ordinary text instead."""
    kinds = schema.get("type", [])
    if "string" in kinds:
        return (text, next(o for o in ORDINARY if takes(schema, o))) if takes(schema, text) else None
    if kinds == "array":
        item = filled(schema.get("items", {}), text)
        return ([item[0]], [item[1]]) if item else None
    if kinds != "object":
        return None
    parts = {name: filled(part, text) for name, part in schema.get("properties", {}).items()}
    if isinstance(schema.get("additionalProperties"), dict):
        parts["odd"] = filled(schema["additionalProperties"], text)
    parts = {name: part for name, part in parts.items() if part}
    if not parts or not set(schema.get("required", [])) <= set(parts):
        return None
    return {name: part[0] for name, part in parts.items()}, {name: part[1] for name, part in parts.items()}


def merged(one, other):
    both = {key: merged(one[key], other[key]) for key in one.keys() & other.keys() if isinstance(one[key], dict)}
    return {**other, **one, **both}


def put(text, ordinary):
    """An ordinary text of the render as it must be with the odd one."""
    return re.sub("|".join(map(re.escape, sorted(ORDINARY, key=len, reverse=True))), lambda _: text, ordinary)


def differences(odd, ordinary, text, path=""):
    """Where the render with the odd text is not the ordinary one with that text in it."""
    if isinstance(ordinary, dict):
        ordinary = {put(text, key): value for key, value in ordinary.items()}
    if isinstance(odd, dict) and isinstance(ordinary, dict) and odd.keys() == ordinary.keys():
        for key in odd.keys() - {"checksum/config"}:
            parse = tomllib.loads if key == "signonce.toml" else lambda tree: tree
            yield from differences(parse(odd[key]), parse(ordinary[key]), text, f"{path}.{key}")
    elif isinstance(odd, list) and isinstance(ordinary, list) and len(odd) == len(ordinary):
        for place, pair in enumerate(zip(odd, ordinary)):
            yield from differences(*pair, text, f"{path}[{place}]")
    else:
        wanted = put(text, ordinary) if isinstance(ordinary, str) else ordinary
        if odd != wanted or type(odd) is not type(wanted):
            yield f"{path}: {odd!r:.99} instead of {wanted!r:.99}"


def count(tree):
    return sum(map(count, tree.values() if isinstance(tree, dict) else tree)) if isinstance(tree, (dict, list)) else 1


def without_chance(objects):
    """A passphrase that the chart makes is another one each time."""
    for secret in of_kind(objects, "Secret"):
        secret["data"] = {key: type(value).__name__ for key, value in secret["data"].items()}
    return objects


def tried(text):
    schema = json.loads((CHART / "values.schema.json").read_text())
    odd, ordinary = filled(schema, text)
    for name, base in BASES.items():
        one, other = (without_chance(render(values=merged(base, values))) for values in (odd, ordinary))
        found = list(differences(one, other, text))
        assert not found, f"{text!r} in the values of {name}:\n" + "\n".join(found)
        names(one)
    return f"ok: {text!r} stays a text wherever it is allowed: {count(odd)} values"


def settings_exist():
    """Every setting that the schema lets through is one of the signer's: it would not start with another."""
    code = (CHART.parents[1] / "signer/shared/src/config.rs").read_text()
    sections = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]["properties"]
    for section, schema in sections.items():
        known = re.search(rf"pub struct {section.title()}Section \{{(.*?)\n\}}", code, re.DOTALL)
        assert known, f"the signer has no section [{section}]"
        unknown = schema["properties"].keys() - set(re.findall(r"pub (\w+):", known[1]))
        assert not unknown, f"the signer has no settings {unknown} in [{section}]"
    print("ok: the signer knows every setting that the chart lets through")


def page_renders():
    """The values that docs/operate/kubernetes.md shows for production are values of this chart."""
    page = (CHART.parents[1] / "docs/operate/kubernetes.md").read_text()
    shown = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1].replace("sha256:…", f"sha256:{'0' * 64}").replace("REGISTRY", "registry"))
    assert len(shown) > 4, shown
    names(render(values=shown))
    print("ok: the values in docs/operate/kubernetes.md render")


def main():
    settings_exist()
    page_renders()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for said in pool.map(tried, ODD):
            print(said)


if __name__ == "__main__":
    sys.exit(main())
