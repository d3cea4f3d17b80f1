"""Holds what the chart renders for each version of Kubernetes against that version's schemas."""
import functools
import sys

import kubernetes_validate
from kubernetes_validate import utils

from rendered import TEST, render

MINORS = range(29, 38)
# Kinds of Kubernetes itself are under these; of other kinds there are no schemas.
OTHERS = ("cert-manager.io/", "monitoring.coreos.com/")
# Each schema is read once for all objects.
utils.schema_contents = functools.cache(utils.schema_contents)


def main():
    for path in sorted((TEST / "values").glob("*.yaml")):
        held = 0
        for minor in MINORS:
            for one in render(files=[path], kubernetes=f"1.{minor}.0"):
                if not one["apiVersion"].startswith(OTHERS):
                    try:
                        kubernetes_validate.validate(one, f"1.{minor}", strict=True)
                    except kubernetes_validate.ValidationError as wrong:
                        where = ".".join(map(str, wrong.path))
                        sys.exit(f"FAILED: {path.stem}: {one['kind']} {one['metadata']['name']} does not suit Kubernetes 1.{minor}: {where}: {wrong.message}")
                    held += 1
        assert held, f"nothing of {path} was held against a schema"
        print(f"ok: {path.stem} suits Kubernetes 1.{MINORS[0]} to 1.{MINORS[-1]}")


if __name__ == "__main__":
    sys.exit(main())
