#!/usr/bin/env python3
"""Writes what follows from helm/signonce/ports.yaml: the firewall of the playbook, and table and example in
docs/operate/hardening.md. --check only compares. The chart's NetworkPolicy is rendered from that file itself."""
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- ports: written by deploy/ports.py -->", "<!-- end of ports -->"
# Who is who in the playbook; the jobs are the chart's alone.
HOSTS = {"signers": "signers", "clients": "signonce_clients", "operators": "signonce_admins", "monitors": "signonce_monitors", "jobs": None}
# And in the example of the page.
EXAMPLE = {"signers": ["10.0.0.1", "10.0.0.2", "10.0.0.3"], "clients": ["10.1.0.0/24"], "operators": [], "monitors": [], "jobs": []}


def table():
    return yaml.safe_load((ROOT / "helm/signonce/ports.yaml").read_text())


def firewall(ports):
    """A template for Ansible. Loaded twice it is there once."""
    rows = []
    for listen in ports["listens"]:
        networks = " + ".join(filter(None, (HOSTS[who] for who in listen["from"])))
        rows.append(f"     (signonce_{listen['name']}_port, {networks})")
    return """# Written by Ansible. /etc/nftables.conf includes /etc/nftables.d/*.nft
{# Written by deploy/ports.py from helm/signonce/ports.yaml: change that one. #}
table inet signonce
delete table inet signonce
table inet signonce {
  chain input {
    type filter hook input priority -10; policy accept;
    iif lo accept
{% set signers = groups[signonce_group] | map('extract', hostvars, ['ansible_facts', 'default_ipv4', 'address']) | list %}
{% for port, networks in [
""" + ",\n".join(rows) + """] %}
{% if networks %}
    tcp dport {{ port }} ip saddr { {{ networks | join(', ') }} } accept
{% endif %}
    tcp dport {{ port }} drop
{% endfor %}
  }
}
"""


def page(ports):
    """What stands between the marks in docs/operate/hardening.md."""
    lines = ["| port | who needs it | default |", "|---|---|---|"]
    rules = []
    for listen in ports["listens"]:
        name = {"peer": "peers", "client": "clients", "metrics": "probes and metrics"}.get(listen["name"], listen["name"])
        lines.append(f"| {listen['port']} {name} | {listen['who']} | {listen['default']} |")
        networks = [network for who in listen["from"] for network in EXAMPLE[who]]
        if networks:
            rules.append(f"    tcp dport {listen['port']} ip saddr {{ {', '.join(networks)} }} accept")
    own = " and ".join(str(listen["port"]) for listen in ports["listens"] if "signers" in listen["from"])
    everything = ", ".join(str(listen["port"]) for listen in ports["listens"])
    lines += ["", f"A signer connects to the other signers ({own}), to its time servers, and to:", ""]
    for connect in ports["connects"]:
        numbers = ", ".join(f"{port['port']}/{port.get('protocol', 'TCP').lower()}" for port in connect["ports"])
        lines.append(f"- {connect['who']}" + (f" ({numbers})" if numbers else ""))
    lines += ["", "Close the rest. In nftables, where the signers are 10.0.0.1 to 3 and the validators 10.1.0.0/24:", "", "```text",
              "table inet signonce {", "  chain input {", "    type filter hook input priority -10; policy accept;", "    iif lo accept",
              *rules, f"    tcp dport {{ {everything} }} drop", "  }", "}", "```"]
    return "\n".join(lines)


def written():
    """Each file with the text that it should have."""
    ports = table()
    assert set(HOSTS) >= {who for listen in ports["listens"] for who in listen["from"]}, "somebody in ports.yaml is nobody here"
    yield ROOT / "deploy/ansible/roles/signonce/templates/signonce.nft.j2", firewall(ports)
    hardening = ROOT / "docs/operate/hardening.md"
    head, rest = hardening.read_text().split(BEGIN)
    yield hardening, f"{head}{BEGIN}\n{page(ports)}\n{END}{rest.split(END)[1]}"


def agrees(ports):
    """The program listens where the table says, and the chart's containers, Services and the playbook name these ports."""
    numbers = {listen["name"]: listen["port"] for listen in ports["listens"]}
    code = (ROOT / "signer/shared/src/config.rs").read_text()
    for name, port in numbers.items():
        found = re.search(rf"\b{name}: \w+\((\d+)\)", code)
        assert found and int(found[1]) == port, f"signer/shared/src/config.rs listens elsewhere than at {port} for {name}"
    for path, pattern in (("templates/statefulset.yaml", r"\{name: (\w+), containerPort: (\d+)\}"), ("templates/services.yaml", r"\{name: (\w+), port: (\d+), targetPort: \1\}"),
                          ("templates/config.yaml", r'(\w+) = "0\.0\.0\.0:(\d+)"')):
        found = dict(re.findall(pattern, (ROOT / "helm/signonce" / path).read_text()))
        assert {name: int(port) for name, port in found.items()} == numbers, f"{path}: {found}"
    defaults = yaml.safe_load((ROOT / "deploy/ansible/roles/signonce/defaults/main.yaml").read_text())
    for name, port in numbers.items():
        assert defaults[f"signonce_{name}_port"] == port, f"the playbook has another port for {name}"


def main():
    agrees(table())
    old = [str(path.relative_to(ROOT)) for path, text in written() if path.read_text() != text]
    if "--check" in sys.argv:
        sys.exit(f"not what helm/signonce/ports.yaml says; run deploy/ports.py: {', '.join(old)}" if old else 0)
    for path, text in written():
        path.write_text(text)


if __name__ == "__main__":
    main()
