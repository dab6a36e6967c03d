"""A ValidatingAdmissionPolicy for what belongs to the controller, so that nobody else writes it. Pure; part of install.py.

It is judged inside the API server, by nobody's webhook: it cannot be down. It looks at creations and updates alone, so that
`kubectl delete` ends whatever it says. What was there before it stays, and may be removed.
"""

from typing import Any

from moorage.api.v1alpha1 import GROUP, PLURAL

RESERVED = ("kopf.zalando.org/", f"{GROUP}/")
"""Prefixes of finalizers that nobody would ever take away again."""
KOPF = RESERVED[0]
STATUS_IS_OURS = "only Moorage's controller writes it"
"""By these words, in all versions, a controller knows another's policy: claims.py."""


def policy(name: str, labels: dict[str, str], controller: str, namespaces: tuple[str, ...]) -> list[dict[str, Any]]:
    """The policy and its binding.

    Args:
        name: of both.
        controller: the user name that it does not concern.
        namespaces: where it holds; none stands for everywhere.
    """
    selected = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
    there = {"matchResources": {"namespaceSelector": {"matchExpressions": [selected]}}} if namespaces else {}
    metadata = {"name": name, "labels": labels}
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": [GROUP],
                            "apiVersions": ["*"],
                            "operations": ["CREATE", "UPDATE"],
                            "resources": [PLURAL, f"{PLURAL}/status"],
                        }
                    ]
                },
                "matchConditions": [
                    {"name": "not-by-the-controller", "expression": f"request.userInfo.username != '{controller}'"}
                ],
                "validations": _validations(controller),
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": name, "validationActions": ["Deny"], **there},
        },
    ]


def _validations(controller: str) -> list[dict[str, str]]:
    ours = " || ".join(f"f.startsWith('{prefix}')" for prefix in RESERVED)
    had = "request.operation == 'UPDATE' && f in oldObject.metadata.?finalizers.orValue([])"
    kept = (
        "request.operation == 'UPDATE' && k in oldObject.metadata.?annotations.orValue({})"
        " && oldObject.metadata.annotations[k] == object.metadata.annotations[k]"
    )
    return [
        {
            "expression": "request.?subResource.orValue('') != 'status'",
            "message": (
                f"status: {STATUS_IS_OURS}, and here that is {controller}: another installation must look "
                "after other namespaces (moor install --namespace, for both)"
            ),
        },
        {
            "expression": f"object.metadata.?finalizers.orValue([]).all(f, !({ours}) || ({had}))",
            "message": f"metadata.finalizers: {' and '.join(RESERVED)} are reserved, and nobody would take them away",
        },
        {
            "expression": f"object.metadata.?annotations.orValue({{}}).all(k, !k.startsWith('{KOPF}') || ({kept}))",
            "message": f"metadata.annotations: {KOPF} is reserved",
        },
    ]
