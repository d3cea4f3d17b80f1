"""Joins what the chart renders with what watches it: ServiceMonitor, Services and pods give the labels of every target,
as the Prometheus operator makes them, and with these promtool plays the rules and the dashboard that the chart installs."""
import functools
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

from rendered import TEST, TOOLS, of_kind, only, render, settings

# What keeps clusters apart: docs/reference/metrics.md.
APART = ["cluster", "namespace", "service"]
RELEASES = [("one", "signers"), ("two", "signers"), ("one", "elsewhere"), ("signonce", "1e3")]


def selects(selector, labels):
    return all(labels.get(name) == value for name, value in selector.items())


def relabelled(labels, rules):
    """Of relabelling what the chart uses: a label gets a fixed value."""
    for rule in rules:
        assert rule.keys() <= {"targetLabel", "replacement"}, f"this test does not know the relabelling {rule}"
        labels[rule["targetLabel"]] = rule["replacement"]
    return labels


def targets(objects, namespace):
    """The labels of every target that the release's ServiceMonitor finds, per pod."""
    monitor = only(of_kind(objects, "ServiceMonitor"))["spec"]
    assert namespace in monitor["namespaceSelector"]["matchNames"], monitor
    endpoint = only(monitor["endpoints"])
    signers = only(of_kind(objects, "StatefulSet"))
    template, listen = signers["spec"]["template"], settings(objects)["listen"]
    for service in of_kind(objects, "Service"):
        ports = [port for port in service["spec"]["ports"] if port["name"] == endpoint["port"]]
        if not ports or not selects(monitor["selector"]["matchLabels"], service["metadata"]["labels"]):
            continue
        assert selects(service["spec"]["selector"], template["metadata"]["labels"]), "the Service selects no signer"
        container, port = only([(container["name"], port["containerPort"]) for container in template["spec"]["containers"]
                                for port in container.get("ports", []) if port["name"] == only(ports)["targetPort"]])
        assert listen["metrics"].endswith(f":{port}"), f"signers listen on {listen['metrics']}, and {port} is scraped"
        name = service["metadata"]["name"]
        for ordinal in range(signers["spec"]["replicas"]):
            pod = f"{signers['metadata']['name']}-{ordinal}"
            labels = {"job": service["metadata"]["labels"].get(monitor.get("jobLabel"), name), "namespace": namespace, "service": name,
                      "pod": pod, "endpoint": endpoint["port"], "container": container, "instance": f"{pod}.{namespace}:{port}"}
            yield relabelled(labels, endpoint.get("relabelings", []))


def may_meet(objects):
    """Signers reach each other where each says that it is reached: members ask each other on the client port too."""
    policy = only(of_kind(objects, "NetworkPolicy"))["spec"]
    pod = only(of_kind(objects, "StatefulSet"))["spec"]["template"]
    named = {port["name"]: port["containerPort"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
    used = {int(member[address].rsplit(":", 1)[1]) for member in settings(objects)["cluster"]["members"] for address in ("peer", "client_url")}
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        rules = [rule for rule in policy[direction] for peer in rule.get(peers, [])
                 if "podSelector" in peer and peer["podSelector"].get("matchLabels") and selects(peer["podSelector"]["matchLabels"], pod["metadata"]["labels"])
                 and "matchExpressions" not in peer["podSelector"]]
        open_ports = {named.get(port["port"], port["port"]) for rule in rules for port in rule["ports"]}
        assert used <= open_ports, f"signers use {used} among themselves, {direction} is open for {open_ports}"


def may_scrape(objects):
    """The port is open to those that the values name, in the network policy too."""
    policy = only(of_kind(objects, "NetworkPolicy"))["spec"]["ingress"]
    callers = [rule["from"] for rule in policy if {"port": "metrics"} in rule["ports"]]
    assert {"namespaceSelector": {"matchLabels": {"role": "monitoring"}}} in sum(callers, []), callers
    # So do the chart's own pods that ask for readiness.
    components = {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in of_kind(objects, "Pod")}
    components |= {one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] for one in of_kind(objects, "Job")}
    allowed = [e["values"] for peer in sum(callers, []) for e in peer.get("podSelector", {}).get("matchExpressions", [])]
    assert components <= set(sum(allowed, [])), f"{components} ask for readiness, {allowed} may"


def series(name, labels, values):
    return {"series": name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}", "values": values}


def rule(rules, alert):
    return only([rule for rule in rules["groups"][0]["rules"] if rule["alert"] == alert])


def expected(rules, alert, labels):
    """One alert of these labels, as the rule words it."""
    text = {key: value.replace("{{ $labels.instance }}", labels.get("instance", "")) for key, value in rule(rules, alert)["annotations"].items()}
    return {"exp_labels": {"severity": rule(rules, alert)["labels"]["severity"], **labels}, "exp_annotations": text}


def played(rules, dashboard, found):
    """A promtool test: of the first release's signers the last is down, and the second release has no leader."""
    down, headless = found[0][-1], found[1]
    inputs = [series("up", labels, "0x40" if labels is down else "1x40") for release in found for labels in release]
    inputs += [series("signonce_raft_has_leader", labels, "0x40" if release is headless else "1x40") for release in found for labels in release]
    cluster = {key: headless[0][key] for key in ("job", "namespace", "service")}
    panel = only([panel for panel in dashboard["panels"] if panel["title"] == "Nodes up"])["targets"][0]["expr"]
    counts = []
    for release in found:
        query = panel.replace("$cluster", ".*").replace("$namespace", release[0]["namespace"]).replace("$service", release[0]["service"])
        labels = "{" + ", ".join(f'{key}="{release[0][key]}"' for key in ("namespace", "service")) + "}"
        counts.append({"expr": query, "eval_time": "10m", "exp_samples": [{"labels": labels, "value": len(release) - (down in release)}]})
    return {
        "rule_files": ["rules.yaml"], "evaluation_interval": "15s",
        "tests": [{
            "interval": "15s", "input_series": inputs, "promql_expr_test": counts,
            "alert_rule_test": [
                {"eval_time": "10m", "alertname": "SignonceNodeDown", "exp_alerts": [expected(rules, "SignonceNodeDown", down)]},
                {"eval_time": "10m", "alertname": "SignonceNoLeader", "exp_alerts": [expected(rules, "SignonceNoLeader", cluster)]},
                {"eval_time": "10m", "alertname": "SignonceNotScraped", "exp_alerts": []},
            ],
        }],
    }


def keeps_clusters_apart(expression, where, by=()):
    """Every aggregation names what keeps clusters apart. `absent` and the count of alerts are about all of them."""
    for aggregation, names in re.findall(r"\b(\w+) +without *\(([^)]*)\)", expression):
        assert not set(APART) & {name.strip() for name in names.split(",")}, f"{where}: {aggregation} drops what keeps clusters apart: {expression}"
    for aggregation, names in re.findall(r"\b(sum|min|max|avg|count|group|topk|bottomk|quantile|stddev)\b *(?:by *\(([^)]*)\))? *\(", expression.replace("count(ALERTS{", "(")):
        missing = {*APART, *by} - {name.strip() for name in names.split(",")}
        assert not missing, f"{where}: {aggregation} mixes what {missing} keeps apart: {expression}"


def queries(dashboard):
    yield from ((one["name"], one["expr"]) for one in dashboard["annotations"]["list"])
    yield from ((panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", []))


def as_rules(dashboard):
    """The dashboard's queries in the form in which promtool reads expressions."""
    variables = {"$__rate_interval": "1m", "$cluster": ".*", "$namespace": ".*", "$service": ".*"}
    expressions = [functools.reduce(lambda query, name: query.replace(name, variables[name]), variables, query) for _, query in queries(dashboard)]
    return {"groups": [{"name": "dashboard", "rules": [{"record": f"panel:{place}", "expr": expression} for place, expression in enumerate(expressions)]}]}


def promtool(directory, *words):
    done = subprocess.run([TOOLS / "promtool", *words], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, f"promtool {' '.join(words)}: {done.stdout} {done.stderr}"


def job_names():
    """What the pages and the compose file call the job is what the rules look for."""
    for path in ("docs/reference/metrics.md", "deploy/compose-prometheus.yaml"):
        jobs = re.findall(r"job_name: *(\S+)", (TEST.parents[1] / path).read_text())
        assert jobs and set(jobs) <= {"signonce", "signonce-watch"}, f"{path}: {jobs}"


def main():
    values = TEST / "values/production.yaml"
    releases = [render(name, files=[values], namespace=namespace) for name, namespace in RELEASES]
    found = [list(targets(objects, namespace)) for objects, (_, namespace) in zip(releases, RELEASES)]
    for objects, release in zip(releases, found):
        assert len(release) == only(of_kind(objects, "StatefulSet"))["spec"]["replicas"], f"targets: {release}"
        assert {labels["job"] for labels in release} == {"signonce"}, f"the job is not called signonce: {release[0]}"
        may_scrape(objects)
        may_meet(objects)
    rules = only(of_kind(releases[0], "PrometheusRule"))["spec"]
    boards = [one["data"]["signonce.json"] for one in of_kind(releases[0], "ConfigMap") if "signonce.json" in one.get("data", {})]
    dashboard = json.loads(only(boards))
    for one in rules["groups"][0]["rules"]:
        keeps_clusters_apart(one["expr"], one["alert"], by=["job"])
    for title, query in queries(dashboard):
        keeps_clusters_apart(query, title)
        chosen = re.findall(r'\b(?:up|signonce_\w+)(\{[^}]*\})?', query)
        assert all(f'{name}=~"${name}' in selector for selector in chosen for name in APART), f"{title} shows every cluster: {query}"
    job_names()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        (work / "rules.yaml").write_text(yaml.safe_dump(rules))
        (work / "test.yaml").write_text(yaml.safe_dump(played(rules, dashboard, found)))
        (work / "queries.yaml").write_text(yaml.safe_dump(as_rules(dashboard)))
        promtool(work, "check", "rules", "rules.yaml", "queries.yaml")
        promtool(work, "test", "rules", "test.yaml")
        # The field case, where it is.
        case = TEST.parents[1] / "../shared/vectors/field-cases/monitoring/chart-job.yaml"
        if case.exists():
            # It was written when the pages lay in one folder.
            moved = case.read_text().replace("alerts.yaml", "rules.yaml").replace("docs/alerts.md", "docs/operate/alerts.md")
            (work / "case.yaml").write_text(moved)
            promtool(work, "test", "rules", "case.yaml")
    promtool(TEST.parents[1] / "monitoring", "test", "rules", "alerts_test.yaml")
    print("ok: job, namespace, port and Services as the chart renders them raise the alerts, each of its own cluster")


if __name__ == "__main__":
    sys.exit(main())
