"""Forms a cluster of real signers, has them ask each other how they are and what time it is, and replaces one that has
lost its volume, while the rules that say who may talk to whom are enforced: the chart's NetworkPolicy, and the firewall of
the playbook. Every signer, validator, monitor and stranger is a network namespace with an address of its own; nftables
lets through what the rendered rules let through, and nothing else. Afterwards every way from everybody to every port is
tried. Needs Linux, nft, ip, and the program (BIN); all of it happens in namespaces that end with this.

    helm/test/enforced.py [policy|firewall]
"""
import functools
import ipaddress
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import tomllib

import yaml

from rendered import CHART, TEST, of_kind, only, render, settings
from scraped import selects

ROOT = TEST.parents[1]
BIN = os.environ.get("BIN", str(pathlib.Path.home() / ".cache/signonce/target/release/signonce"))
TABLE = ROOT / "helm/signonce/ports.yaml"
NAMESPACE, CLUSTER = "signers", "0123456789abcdef0123456789abcdef"
VALUES = {
    "cluster": {"id": CLUSTER}, "tls": {"mode": "existing"}, "unlock": {"existingSecret": "unlock"},
    "config": {"telemetry": {"otlp": "http://10.77.8.1:4318"}},
    "networkPolicy": {
        "clients": [{"namespaceSelector": {"matchLabels": {"role": "validators"}}}],
        "metrics": [{"namespaceSelector": {"matchLabels": {"role": "monitoring"}}, "podSelector": {"matchLabels": {"app": "prometheus"}}}],
        "admins": [{"ipBlock": {"cidr": "10.77.9.0/24"}}],
    },
}
SIGNERS = 3
GATEWAY, COLLECTOR, ELSEWHERE = "10.77.0.1", "10.77.8.1", "10.77.8.9"
PATIENCE = 60


def run(*words, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}"
    return done.stdout


class Place:
    """A network namespace with an address: a pod, or a machine."""

    def __init__(self, name, address, namespace=NAMESPACE, labels=None, namespace_labels=None, who=None):
        self.name, self.address, self.namespace, self.labels = name, address, namespace, labels or {}
        self.namespace_labels, self.who = namespace_labels or {}, who
        self.file = f"/run/netns/{name}"
        veth = f"v{address.split('.', 2)[2].replace('.', '-')}"
        run("ip", "netns", "add", name)
        run("ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", veth, "master", "bridge", "up")
        self.inside("ip", "addr", "add", f"{address}/16", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self.inside("ip", "link", "set", "lo", "up")

    def command(self, *words):
        return ["nsenter", f"--net={self.file}", "--", *map(str, words)]

    def inside(self, *words, **more):
        return run(*self.command(*words), **more)


# What Kubernetes makes of a NetworkPolicy, for pods that are known beforehand.


def is_peer(peer, place):
    """Whether an entry of `from` or `to` means this pod or machine."""
    if "ipBlock" in peer:
        return ipaddress.ip_address(place.address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    if place.namespace is None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"].get("matchLabels", {}), place.namespace_labels):
            return False
    elif place.namespace != NAMESPACE:
        return False
    return matches(peer.get("podSelector", {}), place.labels)


def matches(selector, labels):
    assert selector.keys() <= {"matchLabels", "matchExpressions"}, selector
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", f"this test does not know the operator of {expression}"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return selects(selector.get("matchLabels", {}), labels)


def policy_rules(policy, places, named):
    """The policy of a pod in nftables."""
    def lines(rules, peers, way):
        for rule in rules:
            addresses = [place.address for place in places if any(is_peer(peer, place) for peer in rule[peers])] if peers in rule else None
            if addresses == []:
                continue
            there = "" if addresses is None else f"ip {way} {{ {', '.join(addresses)} }} "
            for port in rule.get("ports", [{}]):
                number = named.get(port.get("port"), port.get("port"))
                what = f"{port.get('protocol', 'TCP').lower()} dport {number} " if number else ""
                yield f"    {there}{what}accept"

    chains = []
    for hook, rules, peers, way in (("input", policy.get("ingress", []), "from", "saddr"), ("output", policy.get("egress", []), "to", "daddr")):
        if {"input": "Ingress", "output": "Egress"}[hook] in policy["policyTypes"]:
            interface = "iif" if hook == "input" else "oif"
            chains += [f"  chain {hook} {{", f"    type filter hook {hook} priority 0; policy drop;", f"    {interface} lo accept",
                       "    ct state established,related accept", *lines(rules, peers, way), "  }"]
    return "\n".join(["table inet network {", *chains, "}", ""])


def firewall_rules(places):
    """What Ansible would make of the playbook's template for these machines."""
    import jinja2

    environment = jinja2.Environment()
    environment.filters["extract"] = lambda host, hosts, keys: functools.reduce(lambda tree, key: tree[key], keys, hosts[host])
    role = ROOT / "deploy/ansible/roles/signonce"
    values = yaml.safe_load((role / "defaults/main.yaml").read_text())
    signers = [place for place in places if place.who == "signers"]
    of = {who: [f"{place.address}/32" for place in places if place.who == who] for who in ("clients", "operators", "monitors")}
    values |= {"signonce_group": "signers", "groups": {"signers": [place.name for place in signers]},
               "hostvars": {place.name: {"ansible_facts": {"default_ipv4": {"address": place.address}}} for place in signers},
               "signonce_clients": of["clients"], "signonce_admins": of["operators"], "signonce_monitors": of["monitors"]}
    template = (role / "templates/signonce.nft.j2").read_text()
    return jinja2.Environment.from_string(environment, template).render(values)


class Signer(Place):
    """A pod with the image's files and what the rendered StatefulSet mounts."""

    def __init__(self, ordinal, objects, image, certificates):
        self.set = only(of_kind(objects, "StatefulSet"))
        self.ordinal, template = ordinal, self.set["spec"]["template"]
        super().__init__(f"{self.set['metadata']['name']}-{ordinal}", f"10.77.1.{ordinal + 1}", labels=template["metadata"]["labels"], who="signers")
        self.pod, self.certificates = template["spec"], certificates
        self.domain = f"{self.set['spec']['serviceName']}.{NAMESPACE}.svc.cluster.local"
        self.host = f"{self.name}.{self.domain}"
        self.root = image.parent / self.name
        shutil.copytree(image, self.root, symlinks=True)
        maps = {name: text for one in of_kind(objects, "ConfigMap") for name, text in one["data"].items()}
        self.write("etc/signonce/base/signonce.toml", maps["signonce.toml"])
        self.write("etc/signonce/state/owner", maps["owner"])
        self.write("etc/signonce/unlock/passphrase", "a passphrase for a test")
        for directory in ("run/signonce", "etc/signonce/join", "etc/signonce/tls"):
            (self.root / directory).mkdir(parents=True)
        # The program starts itself once more to join.
        (self.root / "proc").mkdir()
        run("mount", "-t", "proc", "proc", self.root / "proc")
        self.certify(ordinal + 1)
        self.process = None

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def certify(self, node):
        made = self.certificates / f"for-{node}"
        run(BIN, "certs", "issue", "node", "--id", node, "--cluster", CLUSTER, "--host", self.host, "--dir", self.certificates, "--out", made)
        own = self.root / f"etc/signonce/tls/{self.ordinal}"
        own.mkdir(exist_ok=True)
        for source, name in ((made / f"node-{node}.pem", "tls.crt"), (made / f"node-{node}-key.pem", "tls.key"), (self.certificates / "ca.pem", "ca.crt")):
            shutil.copy(source, own / name)

    def words(self, *arguments):
        return self.command("env", "-i", f"PATH={os.environ['PATH']}", f"POD_NAME={self.name}", "SIGNONCE_CONFIG=/run/signonce/signonce.toml", "chroot", self.root, "/usr/bin/signonce", *arguments)

    def signonce(self, *arguments, seconds=PATIENCE):
        return subprocess.run(self.words(*arguments), capture_output=True, text=True, timeout=seconds)

    def prepare(self):
        """As the init container, with its own arguments; what it says if it fails."""
        done = self.signonce(*only(self.pod["initContainers"])["args"])
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def start(self):
        container = only([one for one in self.pod["containers"] if one["name"] == "signonce"])
        with open(self.root / "log", "a") as log:
            self.process = subprocess.Popen(self.words(*container["args"]), stdout=log, stderr=log)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def node(self):
        """Which member it is, as its configuration says."""
        return tomllib.loads((self.root / "run/signonce/signonce.toml").read_text())["node"]["id"]


def eventually(what, attempt):
    """Until it says nothing any more."""
    until = time.monotonic() + PATIENCE
    while wrong := attempt():
        assert time.monotonic() < until, f"{what}: {wrong}"
        time.sleep(0.5)


class Cluster:
    def __init__(self, rules, work):
        self.rules, self.work = rules, work
        self.objects = render("n", VALUES, namespace=NAMESPACE)
        image = work / "image"
        image.mkdir()
        run(sys.executable, ROOT / "deploy/image.py", BIN, work / "image.tar")
        with tarfile.open(work / "image.tar") as archive:
            layer = only([name for name in archive.getnames() if name.endswith("layer.tar")])
            with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                files.extractall(image, filter="data")
        run(BIN, "certs", "init", "--dir", work / "certs")
        self.signers = [Signer(ordinal, self.objects, image, work / "certs") for ordinal in range(SIGNERS)]
        job = next(one["spec"]["template"]["metadata"]["labels"] for one in of_kind(self.objects, "Job"))
        validators, monitoring = {"role": "validators"}, {"role": "monitoring"}
        self.others = [
            Place("validator", "10.77.2.1", "validators", {"app": "node"}, validators, "clients"),
            Place("prometheus", "10.77.2.2", "monitoring", {"app": "prometheus"}, monitoring, "monitors"),
            Place("job", "10.77.2.3", NAMESPACE, job, who="jobs"),
            Place("operator", "10.77.9.1", None, who="operators"),
            # Beside the signers, and beside Prometheus.
            Place("stranger", "10.77.2.4", NAMESPACE, {"app": "web"}),
            Place("grafana", "10.77.2.5", "monitoring", {"app": "grafana"}, monitoring),
        ]
        hosts = "".join(f"{signer.address} {signer.host}\n" for signer in self.signers)
        for signer in self.signers:
            signer.write("etc/hosts", f"127.0.0.1 localhost\n{hosts}")
        self.enforce()

    def enforce(self):
        container = only([one for one in self.signers[0].pod["containers"] if one["name"] == "signonce"])
        named = {port["name"]: port["containerPort"] for port in container["ports"]}
        places = [*self.signers, *self.others]
        if self.rules == "policy":
            policy = only(of_kind(self.objects, "NetworkPolicy"))["spec"]
            assert matches(policy["podSelector"], self.signers[0].labels), "the policy is not for the signers"
            text = policy_rules(policy, places, named)
        else:
            text = firewall_rules(places)
        for signer in self.signers:
            signer.inside("nft", "-f", "-", input=text)
            if self.rules == "firewall":
                once = signer.inside("nft", "list", "ruleset")
                signer.inside("nft", "-f", "-", input=text)
                assert signer.inside("nft", "list", "ruleset") == once, "loaded twice, the firewall has every rule twice"

    def ready(self):
        """As the job of the chart asks, from where it runs; on machines monitoring does."""
        place = next(place for place in self.others if place.who == ("jobs" if self.rules == "policy" else "monitors"))
        image, nodes = self.signers[0].root, [f"--node={signer.host}:7303" for signer in self.signers]
        done = subprocess.run(place.command("chroot", image, "/usr/bin/signonce", "kube", "wait", f"--timeout={PATIENCE}", *nodes),
                              capture_output=True, text=True)
        assert done.returncode == 0, f"not ready: {done.stdout}{done.stderr}{self.logs()}"

    def logs(self):
        return "".join(f"\n--- {signer.name}\n" + "".join((signer.root / "log").read_text().splitlines(True)[-8:]) for signer in self.signers if (signer.root / "log").exists())

    def forms(self):
        for signer in self.signers:
            wrong = signer.prepare()
            assert not wrong, wrong
            signer.start()
        self.ready()
        for signer in self.signers:
            signer.write("etc/signonce/state/formed", "true")

    def status_and_clocks(self):
        """Every signer reaches every other one's report, and knows how far its clock is from theirs."""
        def wrong(signer):
            done = signer.signonce("status", "--json")
            try:
                nodes = json.loads(done.stdout)["nodes"]["nodes"]
            except (ValueError, TypeError, KeyError):
                return f"status says {done.stdout}{done.stderr}"
            others = [node for node in nodes if node["node"] != signer.node()]
            if len(others) != SIGNERS - 1:
                return f"status knows of {[node['node'] for node in nodes]}"
            return ", ".join(f"of {node['node']}: {node['error']}" for node in others if node["error"] or node["clockOffsetMs"] is None)

        def clocks(signer):
            lines = signer.inside("curl", "-sf", "http://127.0.0.1:7303/metrics").splitlines()
            known = [line for line in lines if line.startswith("signonce_peer_clock_offset_seconds{")]
            return "" if len(known) >= SIGNERS - 1 else f"clocks of others that are known: {known}"

        for signer in self.signers:
            eventually(f"{signer.name} does not learn how the others are", lambda signer=signer: wrong(signer))
            eventually(f"{signer.name} does not learn the others' clocks", lambda signer=signer: clocks(signer))

    def leader(self):
        for signer in self.signers:
            done = signer.signonce("status", "--json")
            if done.stdout and json.loads(done.stdout)["status"]["role"] == "leader":
                return signer
        return None

    def joins(self):
        """One has lost its volume; a new member takes its place, let in over the network by the others."""
        eventually("there is no leader", lambda: "" if self.leader() else "none")
        leader = self.leader()
        lost = next(signer for signer in self.signers if signer is not leader)
        old = lost.node()
        lost.stop()
        shutil.rmtree(lost.root / "var/lib/signonce/node")
        assert "lost its memory" in lost.prepare(), "a pod with an empty volume did not refuse"
        replace = ["members", "replace", old, "--peer", f"{lost.host}:7300", "--yes"]
        (leader.root / "tmp").mkdir(exist_ok=True)
        leader.signonce(*replace, "--token-file", "/tmp/token", "--wait", "1")
        members = json.loads(leader.signonce("members", "list", "--json").stdout)
        invited = max(member["node"] for member in members)
        lost.write(f"etc/signonce/join/{lost.ordinal}.json", json.dumps({"node": invited, "token": (leader.root / "tmp/token").read_text().strip()}))
        lost.certify(invited)
        wrong = lost.prepare()
        assert not wrong, f"the new member cannot join: {wrong}"
        lost.start()
        done = leader.signonce(*replace, "--wait", PATIENCE, seconds=2 * PATIENCE)
        assert done.returncode == 0, f"members replace: {done.stdout}{done.stderr}{self.logs()}"
        self.ready()

    def ways(self):
        """Everybody tries every port of every signer; then signers try what is outside."""
        table = yaml.safe_load(TABLE.read_text())
        open_to = {listen["port"]: listen["from"] for listen in table["listens"]}
        places, tried = [*self.signers, *self.others], 0
        for place in places:
            targets = [(signer.address, port) for signer in self.signers if signer is not place for port in open_to]
            for (address, port), found in zip(targets, reached(place, targets)):
                # Nobody on machines is a job.
                may = place.who in open_to[port] and (self.rules == "policy" or place.who != "jobs")
                assert found == may, f"{place.name} {'reaches' if found else 'does not reach'} {address}:{port}, which is for {open_to[port]}"
                tried += 1
        if self.rules == "policy":
            wanted = {(GATEWAY, 53): True, (COLLECTOR, 4318): True, (ELSEWHERE, 8080): False, (GATEWAY, 443): False}
            for signer in self.signers:
                found = dict(zip(wanted, reached(signer, list(wanted))))
                assert found == wanted, f"{signer.name} reaches {found}"
                assert resolves(signer), f"{signer.name} does not reach the resolver over UDP"
                tried += len(wanted) + 1
        return tried


CONNECT = """
import concurrent.futures, json, socket, sys
def reached(target):
    try:
        socket.create_connection(tuple(target), 1).close()
        return True
    except OSError:
        return False
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(reached, json.loads(sys.argv[1])))))
"""
ASK = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(2); s.sendto(b'?', ('%s', 53)); print(s.recv(9))" % GATEWAY


def reached(place, targets):
    return json.loads(place.inside(sys.executable, "-c", CONNECT, json.dumps(targets)))


def resolves(place):
    return subprocess.run(place.command(sys.executable, "-c", ASK), capture_output=True).returncode == 0


def outside():
    """The resolver, a collector, and somebody whom no signer has to reach."""
    for address in (GATEWAY, COLLECTOR, ELSEWHERE):
        run("ip", "addr", "add", f"{address}/16", "dev", "bridge")
    kept = []
    for address, port in ((GATEWAY, 53), (GATEWAY, 443), (COLLECTOR, 4318), (ELSEWHERE, 8080)):
        kept.append(socket.create_server((address, port)))
    resolver = socket.socket(type=socket.SOCK_DGRAM)
    resolver.bind((GATEWAY, 53))

    def answer():
        while True:
            _, whence = resolver.recvfrom(512)
            resolver.sendto(b"!", whence)

    threading.Thread(target=answer, daemon=True).start()
    return kept


def play(rules):
    run("ip", "link", "add", "name", "bridge", "type", "bridge")
    run("ip", "link", "set", "bridge", "up")
    run("ip", "link", "set", "lo", "up")
    kept = outside()
    # In memory, and gone with these namespaces: no volume of a test has to outlive it.
    work = pathlib.Path("/run/work")
    work.mkdir()
    cluster = Cluster(rules, work)
    cluster.forms()
    cluster.status_and_clocks()
    cluster.joins()
    cluster.status_and_clocks()
    tried = cluster.ways()
    for signer in cluster.signers:
        signer.stop()
    for listening in kept:
        listening.close()
    what = "the chart's NetworkPolicy" if rules == "policy" else "the playbook's firewall"
    print(f"ok: under {what} signers form, ask each other, take in a new member; {tried} ways are open or shut as ports.yaml says")


def enclosed(rules):
    """Runs this again in namespaces of its own; a reason if that cannot be."""
    for tool in ("nft", "ip", "unshare", "nsenter", "curl"):
        if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            sys.exit(f"FAILED: {tool} is not here: helm/test/run installs it")
    spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid():
        spaces += ["--user", "--map-root-user"]
    if subprocess.run([*spaces, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True).returncode:
        return "this user can make no namespaces: run it as root"
    probe = "ip link add name bridge type bridge && nft add table inet t && nft 'add chain inet t c { type filter hook input priority 0; }' && nft add rule inet t c ct state established accept"
    if (done := subprocess.run([*spaces, "sh", "-c", probe], capture_output=True, text=True)).returncode:
        return f"the kernel has no bridges, or no nftables with connection tracking: {done.stderr.strip()}"
    environment = {**os.environ, "SIGNONCE_ENCLOSED": "1", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    if subprocess.run([*spaces, sys.executable, __file__, rules], env=environment).returncode:
        sys.exit(f"FAILED: the rules of the {rules}, with the chart {CHART}")
    return None


def main():
    chosen = sys.argv[1:] or ["policy", "firewall"]
    if os.environ.get("SIGNONCE_ENCLOSED"):
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        play(only(chosen))
        return
    if not os.access(BIN, os.X_OK):
        sys.exit(f"FAILED: the program {BIN} is not here: `make build`, or set BIN")
    for rules in chosen:
        if why := enclosed(rules):
            print(f"SKIPPED: the rules of the {rules} were not enforced on anybody: {why}")


if __name__ == "__main__":
    main()
