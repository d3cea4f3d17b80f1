"""Whether Kubernetes takes every name in what the chart rendered, and whether what is named is there."""
import re
import sys

from rendered import TEST, Refused, of_kind, only, pods, render, settings

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # DNS-1035
SUBDOMAIN = re.compile(rf"{LABEL}(\.{LABEL})*")  # DNS-1123
LABEL = re.compile(LABEL)
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
# A StatefulSet's name and a hash make a label; a Job's and a Pod's is one; the others are longer than any name of ours.
LONGEST = {"Service": (SERVICE, 63), "StatefulSet": (LABEL, 52), "Job": (LABEL, 63), "Pod": (LABEL, 63)}


def fits(text, pattern, longest, what):
    assert isinstance(text, str), f"{what} is not a string: {text!r}"
    assert pattern.fullmatch(text) and len(text) <= longest, f"{what} is {text!r}, which Kubernetes does not take"


def labels(tree, path):
    """Checks all labels and selectors below."""
    for key, value in (tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()):
        here = f"{path}.{key}"
        if key in ("labels", "matchLabels") or (key == "selector" and "kind" not in value and "matchLabels" not in value):
            for name, text in value.items():
                fits(name.split("/")[-1], re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"), 63, f"a label's name in {here}")
                fits(text, LABEL_VALUE, 63, f"{here}.{name}")
        else:
            labels(value, here)


def names(objects):
    for one in objects:
        what = f"the name of a {one['kind']}"
        fits(one["metadata"]["name"], *LONGEST.get(one["kind"], (SUBDOMAIN, 253)), what)
        labels(one, one["metadata"]["name"])
        for name, text in one["metadata"].get("annotations", {}).items():
            assert isinstance(text, str), f"the annotation {name} of {one['metadata']['name']} is not a string: {text!r}"
    for one, spec in pods(objects):
        what = one["metadata"]["name"]
        containers = spec["containers"] + spec.get("initContainers", [])
        for named in containers + spec["volumes"]:
            fits(named["name"], LABEL, 63, f"a name in {what}")
        for port in [port for container in containers for port in container.get("ports", [])]:
            fits(port["name"], LABEL, 15, f"the name of a port of {what}")
        for number in range(one["spec"].get("replicas", 1)):
            fits(f"{what}-{number}", LABEL, 63, "the name of a pod")


def references(objects, release, namespace):
    """What is named by another object is one of these."""
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    named = set()
    for _, spec in pods(objects):
        named.add(("ServiceAccount", spec["serviceAccountName"]))
        for volume in spec["volumes"]:
            sources = volume.get("projected", {}).get("sources", [volume])
            maps = [source["configMap"]["name"] for source in sources if "configMap" in source]
            named |= {("ConfigMap", name) for name in maps if name != "kube-root-ca.crt"}
    for binding in of_kind(objects, "RoleBinding"):
        named.add(("Role", binding["roleRef"]["name"]))
        named |= {("ServiceAccount", subject["name"]) for subject in binding["subjects"]}
        assert all(subject["namespace"] == namespace for subject in binding["subjects"]), binding
    signers = only(of_kind(objects, "StatefulSet"))
    named.add(("Service", signers["spec"]["serviceName"]))
    assert named <= there, f"{release}: named and not there: {named - there}"
    host = f"{signers['metadata']['name']}-{{}}.{signers['spec']['serviceName']}.{namespace}.svc.cluster.local"
    for ordinal, member in enumerate(settings(objects)["cluster"]["members"]):
        assert member["peer"] == f"{host.format(ordinal)}:7300", member


def cases():
    """Names of releases with what must come of them; and those of the field cases, where they are."""
    for line in (TEST / "names.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            release, namespace, flags, name = line.split("\t")
            yield release, namespace, flags.split(), name
    vectors = TEST.parents[1] / "../shared/vectors/field-cases/helm/release-names.txt"
    for release in vectors.read_text().split() if vectors.exists() else ():
        yield release, "signers", [], "refused"


def reached():
    """The addresses that the pages give to validators are names in the certificates; so is the leader's Service."""
    objects = render("signers", files=[TEST / "values/production.yaml"])
    held = {name for one in of_kind(objects, "Certificate") for name in one["spec"]["dnsNames"]}
    for path in ("docs/operate/kubernetes.md", "helm/examples/validator.yaml", "helm/examples/cometbft.yaml"):
        hosts = set(re.findall(r"https://([-a-z0-9.]+):[0-9]+", (TEST.parents[1] / path).read_text()))
        assert hosts and hosts <= held, f"{path} has addresses that are in no certificate: {hosts - held}"
    services = {f"{one['metadata']['name']}.signers.svc" for one in of_kind(objects, "Service") if "clusterIP" not in one["spec"]}
    assert services <= held, f"no certificate has {services - held}"
    print("ok: certificates have the names by which validators reach the signers")


def main():
    reached()
    for release, namespace, flags, name in cases():
        for values in ("default", "production"):
            try:
                objects = render(release, files=[TEST / f"values/{values}.yaml"], namespace=namespace, flags=flags)
            except Refused as refused:
                assert name == "refused", f"{release} {flags} is refused: {refused}"
                assert "fullnameOverride" in str(refused), f"{release}: refused without saying what to do: {refused}"
                continue
            names(objects)
            assert name != "refused", f"{release} {flags} is not refused"
            references(objects, release, namespace)
            assert only(of_kind(objects, "StatefulSet"))["metadata"]["name"] == name, f"{release} is not called {name}"
        print(f"ok: release {release} {' '.join(flags)} in {namespace}: {name}")


if __name__ == "__main__":
    sys.exit(main())
