"""What accounts the chart makes may do, and that none which reads a Secret, or ends a pod, outlives its job."""
import sys

from rendered import TEST, of_kind, only, pods, render

BASES = ["default", "production", "trial"]


def hooks(one):
    return set(filter(None, one["metadata"].get("annotations", {}).get("helm.sh/hook", "").split(",")))


def gone_when_done(one):
    return bool(hooks(one)) and "hook-succeeded" in one["metadata"]["annotations"].get("helm.sh/hook-delete-policy", "")


def bounded(role, name):
    """Whatever is not only made is named, and is the release's own."""
    for rule in role["rules"]:
        what = f"{role['metadata']['name']}: {rule}"
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], what
        assert not {"list", "watch", "deletecollection"} & set(rule["verbs"]), f"no list is bounded by names: {what}"
        if set(rule["verbs"]) != {"create"} or rule["resources"] != ["secrets"]:
            named = rule.get("resourceNames")
            assert named and all(one == name or one.startswith(f"{name}-") for one in named), f"for all of the namespace: {what}"


def stays(role):
    """What an account may do for as long as the release is there: its pod may label itself."""
    for rule in role["rules"]:
        assert rule["resources"] == ["pods"] and set(rule["verbs"]) <= {"get", "patch"}, f"{role['metadata']['name']} stays, with {rule}"


def checked(objects, base):
    name = only(of_kind(objects, "StatefulSet"))["metadata"]["name"]
    for role in of_kind(objects, "Role"):
        bounded(role, name)
        if not gone_when_done(role):
            stays(role)
    assert all(not role["rules"] for role in of_kind(objects, "ClusterRole")), "a right in every namespace"
    accounts = {one["metadata"]["name"]: one for one in of_kind(objects, "ServiceAccount")}
    bindings = of_kind(objects, "RoleBinding")
    for binding in bindings:
        role = only([one for one in of_kind(objects, "Role") if one["metadata"]["name"] == binding["roleRef"]["name"]])
        account = accounts[only(binding["subjects"])["name"]]
        assert hooks(binding) == hooks(role) == hooks(account), f"{role['metadata']['name']}: role, binding and account come and go at other times"
        assert gone_when_done(binding) == gone_when_done(role) == gone_when_done(account), role["metadata"]["name"]
    bound = {only(binding["subjects"])["name"] for binding in bindings}
    for one, spec in pods(objects):
        what, account = one["metadata"]["name"], accounts[spec["serviceAccountName"]]
        if one["kind"] == "Job":
            assert hooks(one) <= hooks(account), f"{what} runs when its account is not there"
            assert gone_when_done(one), f"{what} stays"
            weight = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (account, one)]
            assert weight[0] < weight[1], f"{what} may run before its account is there"
        if spec.get("automountServiceAccountToken"):
            assert spec["serviceAccountName"] in bound, f"{what} has a token that is good for nothing"
    secrets = {role["metadata"]["name"] for role in of_kind(objects, "Role") for rule in role["rules"] if "secrets" in rule["resources"]}
    assert secrets == ({f"{name}-certs"} if base == "trial" else set()), f"{secrets} may use Secrets"
    # Where an older version left an account that read every Secret, the one of that name that comes now takes it along.
    assert "post-upgrade" in hooks(accounts[f"{name}-jobs"]), "the account -jobs of an older version stays after an upgrade"


def main():
    for base in BASES:
        for leader in ("true", "false"):
            checked(render(files=[TEST / f"values/{base}.yaml"], flags=["--set", f"service.leader.enabled={leader}"]), base)
        print(f"ok: {base}: accounts may do what is named, and those of jobs are gone when they are done")


if __name__ == "__main__":
    sys.exit(main())
