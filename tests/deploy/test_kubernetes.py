"""The manifests: of Kubernetes' own schema, whole in themselves, with settings that the server takes."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy import DEPLOY, check_stop_seconds

FOLDER = DEPLOY / "kubernetes"
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for file in sorted(FOLDER.glob("*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))
]
VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""The oldest that the pages promise, and the newest that the schemas know."""


def named(kind: str, name: str = "keyturn") -> dict[str, Any]:
    (found,) = (one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def pods() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return what makes pods, each with its template."""
    return [(one, one["spec"]["template"]) for one in MANIFESTS if "template" in one.get("spec", {})]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_each_manifest_is_of_the_schema(manifest: dict[str, Any], version: str) -> None:
    """Every field is one that Kubernetes knows, in its type."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_an_unknown_field_is_found() -> None:
    """The check itself can fail."""
    manifest = named("Deployment") | {"replica": 2}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[1], strict=True)


def test_every_pod_is_closed() -> None:
    """No pod runs as root, writes its own files, gets variables of Services or a token of the cluster."""
    for owner, template in pods():
        spec = template["spec"]
        assert spec["enableServiceLinks"] is False, owner
        assert spec["automountServiceAccountToken"] is False, owner
        assert spec["securityContext"]["runAsNonRoot"] is True, owner
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, owner
            assert "memory" in container["resources"]["limits"], owner


def test_selectors_find_their_pods_and_no_others() -> None:
    """What selects pods selects those of one owner: of the Service and the budget, the server's."""
    for one in MANIFESTS:
        spec = one.get("spec", {})
        selector = spec.get("selector")
        if selector is None:
            continue
        wanted = selector.get("matchLabels", selector)
        found = [owner for owner, pod in pods() if wanted.items() <= pod["metadata"]["labels"].items()]
        assert len(found) == 1, one
        assert found[0]["metadata"]["labels"] == one["metadata"]["labels"], one


def test_every_secret_and_setting_that_is_named_is_there() -> None:
    """References to the Secret and the ConfigMap name what these have."""
    secret, settings = named("Secret"), named("ConfigMap")
    referred = set()
    for _, template in pods():
        for container in template["spec"]["containers"]:
            for variable in container.get("env", ()):
                if (reference := variable.get("valueFrom", {}).get("secretKeyRef")) is not None:
                    assert reference["name"] == secret["metadata"]["name"]
                    referred.add(reference["key"])
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"] == settings["metadata"]["name"]
        for volume in template["spec"].get("volumes", ()):
            if "secret" in volume:
                assert volume["secret"]["secretName"] == secret["metadata"]["name"]
                referred |= {item["key"] for item in volume["secret"]["items"]}
    assert referred == secret["stringData"].keys()


def test_the_settings_fit_and_the_pod_waits_for_the_drain() -> None:
    """All variables are settings that go together, and Kubernetes kills no server that still drains."""
    spec = named("Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    environment = dict(named("ConfigMap")["data"])
    for variable in container["env"]:
        environment[variable["name"]] = named("Secret")["stringData"][
            variable["valueFrom"]["secretKeyRef"]["key"]
        ]
    settings = check_stop_seconds(spec["terminationGracePeriodSeconds"], environment | {"KEYTURN_HOST": "::"})
    assert not settings.migrate, "nodes that start leave the schema to the Job"
    (mounted,) = container["volumeMounts"]
    (volume,) = spec["volumes"]
    (item,) = volume["secret"]["items"]
    assert settings.root_key_command == f"cat {mounted['mountPath']}/{item['path']}"


def test_probes_ask_for_what_they_are_about() -> None:
    """Each probe asks for the health that its name says, on the port that the container has."""
    (container,) = named("Deployment")["spec"]["template"]["spec"]["containers"]
    probes = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"] for port in container["ports"]}


def test_pods_run_as_the_user_of_the_image() -> None:
    """The manifests and the image name one user, one port and one volume."""
    containerfile = (DEPLOY / "container" / "Containerfile").read_text()
    user, group = re.findall(r"^USER (\d+):(\d+)$", containerfile, re.MULTILINE)[0]
    for owner, template in pods():
        if owner["metadata"]["name"] == "keyturn-postgresql":
            continue
        context = template["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    (container,) = named("Deployment")["spec"]["template"]["spec"]["containers"]
    assert re.findall(r"^EXPOSE (\d+)$", containerfile, re.MULTILINE) == [
        str(container["ports"][0]["containerPort"])
    ]
