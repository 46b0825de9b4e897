"""deploy/: the image, compose.yaml and kubernetes/ keep their schemas, refer to what is there, and start what this
project has. None of them is run here."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.__main__ import DOORS

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LOCKED = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (PROJECT / "requirements.lock").read_text(), re.MULTILINE))
PROJECT_FILE = tomllib.loads((PROJECT / "pyproject.toml").read_text())
SECRET = re.compile(r"PASSWORD|SECRET|AUTH_STRING|TOKEN|ACCESS_KEY", re.IGNORECASE)
NO_TELEMETRY = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every resource for Kubernetes, with its file."""
    for file in sorted(KUBERNETES.glob("*.yaml")):
        if file.name != "kustomization.yaml":
            yield from ((file.name, each) for each in yaml.safe_load_all(file.read_text()))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every template of a pod, with the name of what makes it."""
    for _, each in documents():
        if each["kind"] == "RayCluster":
            for group in (each["spec"]["headGroupSpec"], *each["spec"]["workerGroupSpecs"]):
                yield group["template"]["spec"]["containers"][0]["name"], group["template"]
        elif "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]


DOCUMENTS, PODS = list(documents()), dict(pods())


def filled_in() -> dict[str, str]:
    """The names that a person fills in for compose."""
    lines = (DEPLOY / "compose.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def refuse_unknown(command: list[str]) -> None:
    """Fails unless a program, and what of this project's or Ray's it is told to do, is there."""
    while command[0] in ("sh", "exec", "until"):
        if command[0] != "sh":
            command = command[1:]
            continue
        assert command[1] == "-c"
        for piece in re.split(r"&&|;|&", command[2]):
            words = shlex.split(piece)
            if words and words[0] not in ("eval", "do", "done"):
                refuse_unknown(words)
        return
    programs = {each.name for each in entry_points(group="console_scripts")}
    program, *rest = command
    if program == "python" and rest[:1] == ["-m"]:
        assert importlib.util.find_spec(rest[1]) is not None
        if rest[1] == "flows.database":
            refuse_unknown(rest[2:])
    elif program == "finetune":
        assert rest[0] in DOORS
    elif program == "ray":
        source = Path(pytest.importorskip("ray.scripts").__file__).with_name("scripts.py").read_text()
        assert re.search(rf'^def {rest[0]}\(|name="{rest[0]}"', source, re.MULTILINE)
        assert [flag for flag in rest if flag.startswith("--") and f'"{flag.split("=")[0]}"' not in source] == []
    elif program == "python":
        assert rest[0] == "-c" or (DEPLOY / Path(rest[0]).name).is_file()
    else:
        assert program in programs | {"weed", "pg_isready", "wget"}


# -- the image --


def test_the_image_is_made_of_what_is_locked_and_runs_as_nobody_in_particular() -> None:
    assert re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert "ARG BASE\n" in CONTAINERFILE  # without a default
    assert "@sha256:[0-9a-f]{64}$" in CONTAINERFILE
    assert re.findall(r"^USER (\S+)", CONTAINERFILE, re.MULTILINE)[-1] == "10001:10001"
    installs = re.findall(r"pip install (.*)", CONTAINERFILE)
    assert len(installs) == 3
    assert all("--constraint requirements.lock" in each for each in installs)
    for name, value in NO_TELEMETRY.items():
        assert f"{name}={value}" in CONTAINERFILE


def test_the_image_has_the_python_and_the_extras_of_the_project() -> None:
    major, minor = PROJECT_FILE["tool"]["mypy"]["python_version"].split(".")
    assert f"sys.version_info[:2] == ({major}, {minor})" in CONTAINERFILE
    assert f"BASE=python:{major}.{minor}-slim@sha256:" in (DEPLOY / "compose.env").read_text()
    (extras,) = re.findall(r"ARG EXTRAS=(\S+)", CONTAINERFILE)
    assert set(extras.split(",")) <= PROJECT_FILE["project"]["optional-dependencies"].keys()


def test_what_the_image_copies_is_sent_to_its_builder() -> None:
    sent = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    copied = [
        line.split()[1:-1] for line in CONTAINERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    for source in (each for sources in copied for each in sources):
        assert (PROJECT / source).exists()
        assert f"!{source}" in sent


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint is not here")
    done = subprocess.run([program, DEPLOY / "Containerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_machine_has_the_ray_that_is_locked() -> None:
    (cluster,) = [each for _, each in DOCUMENTS if each["kind"] == "RayCluster"]
    assert cluster["spec"]["rayVersion"] == LOCKED["ray"]
    assert {PODS[name]["spec"]["containers"][0]["image"] for name in ("ray-head", "ray-worker")} == {"finetune-flows"}
    assert SERVICES["worker"]["image"] == SERVICES["ray"]["image"]


# -- compose --


def test_compose_keeps_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    compose_spec = pytest.importorskip("compose_spec")
    whole = json.dumps(COMPOSE)  # merged and without the document's anchors
    for name in re.findall(r"\$\{(\w+)", whole):
        monkeypatch.setenv(name, "given")
    written = re.sub(r"\$\{(\w+)[^}]*\}", "given", whole)
    compose_spec.PyCompose.from_json(written)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_bounded_and_complete(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert name in ("buckets", "ray") or "healthcheck" in service
    assert set(service["networks"]) <= COMPOSE["networks"].keys()
    volumes = [mount.split(":")[0] for mount in service.get("volumes", [])]
    assert set(volumes) <= COMPOSE["volumes"].keys()
    assert set(service.get("depends_on", {})) <= SERVICES.keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    if "command" in service and "entrypoint" not in service:
        refuse_unknown(service["command"])
    if "healthcheck" in service:
        refuse_unknown(service["healthcheck"]["test"][1:])


def test_compose_has_no_password_and_refuses_to_start_without_one() -> None:
    asked = filled_in()
    whole = (DEPLOY / "compose.yaml").read_text()
    required = set(re.findall(r"\$\{(\w+):\?[^}]+\}", whole))
    assert required == asked.keys()
    assert set(re.findall(r"\$\{(\w+)", whole)) - required == {"VARIANT"}
    assert {name: value for name, value in asked.items() if value and not value.endswith("@sha256:")} == {}
    for name, service in SERVICES.items():
        secret = {key: value for key, value in service["environment"].items() if SECRET.search(key)}
        written = {key: value for key, value in secret.items() if "${" not in value and key != "RAY_AUTH_MODE"}
        assert written == {}, name


def test_only_servers_with_passwords_are_published_and_storages_stay_inside() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"prefect", "mlflow"}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["objects"]["networks"] == ["inside"]


def test_the_servers_are_started_as_the_units_of_systemd_start_them() -> None:
    for name in ("prefect", "mlflow"):
        unit = (DEPLOY / "systemd" / f"finetune-{name}.service").read_text().replace("\\\n", " ")
        (line,) = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
        known = line.replace("${LISTEN}", "0.0.0.0").replace("/var/lib/finetune/mlartifacts", "s3://mlflow").split()
        assert SERVICES[name]["command"][1:] == known
        container = PODS[name]["spec"]["containers"][0]
        assert [*container["command"], *container["args"]][1:] == known


# -- Kubernetes --


@pytest.mark.parametrize(("file", "resource"), DOCUMENTS, ids=[f"{file}-{each['kind']}" for file, each in DOCUMENTS])
def test_resources_keep_their_schemas(file: str, resource: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    if resource["kind"] == "RayCluster":
        for name in ("ray-head", "ray-worker"):  # KubeRay's own schema is in no package
            template = PODS[name]
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]}}
            validate.validate({**pod, "spec": template["spec"]}, validate.latest_version(), strict=True)
    elif resource["kind"] != "RayJob":
        validate.validate(resource, validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_hardened_bounded_and_complete(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    volumes = {volume["name"] for volume in spec["volumes"]} | _claimed(name)
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
        assert name == "buckets" or {"readinessProbe", "livenessProbe"} <= container.keys()
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        if name not in ("postgres", "objects", "ray-worker"):
            refuse_unknown([*container["command"], *container.get("args", [])])
        for probe in (value for key, value in container.items() if key.endswith("Probe") and "exec" in value):
            refuse_unknown(probe["exec"]["command"])


def _claimed(name: str) -> set[str]:
    sets = [each for _, each in DOCUMENTS if each["kind"] == "StatefulSet" and each["metadata"]["name"] == name]
    return {claim["metadata"]["name"] for each in sets for claim in each["spec"]["volumeClaimTemplates"]}


def test_secrets_settings_and_claims_that_pods_name_are_there() -> None:
    lines = (KUBERNETES / "secrets.env").read_text().splitlines()
    given = {line for line in lines if line and not line.startswith("#")}
    assert all(line.endswith("=") for line in given)  # a name, and nothing to start with
    settings, claims = (
        {each["metadata"]["name"] for _, each in DOCUMENTS if each["kind"] == kind}
        for kind in ("ConfigMap", "PersistentVolumeClaim")
    )
    used = set()
    for template in PODS.values():
        spec = template["spec"]
        assert {
            v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if "persistentVolumeClaim" in v
        } <= claims
        for container in spec["containers"]:
            assert {each["configMapRef"]["name"] for each in container.get("envFrom", [])} <= settings
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                assert bool(reference) == bool(SECRET.search(variable["name"])), variable
                if reference:
                    assert reference["name"] == "finetune"
                    used.add(f"{reference['key']}=")
    assert used == given


def test_settings_hold_no_secret_and_switch_telemetry_off() -> None:
    (settings,) = [each["data"] for _, each in DOCUMENTS if each["kind"] == "ConfigMap"]
    assert [name for name in settings if SECRET.search(name)] == []
    assert settings.items() >= NO_TELEMETRY.items()
    for name in ("prefect", "mlflow"):
        environment = SERVICES[name]["environment"]
        assert environment["DO_NOT_TRACK"] == "1"
    assert SERVICES["worker"]["environment"]["RAY_USAGE_STATS_ENABLED"] == settings["RAY_USAGE_STATS_ENABLED"] == "0"


def test_services_and_policies_choose_pods_that_are_there() -> None:
    there = {template["metadata"]["labels"]["app"] for template in PODS.values()}
    for _, each in DOCUMENTS:
        if each["kind"] == "Service":
            name = each["spec"]["selector"]["app"]
            ports = {port["name"]: port["containerPort"] for port in PODS[name]["spec"]["containers"][0]["ports"]}
            assert [ports[port["name"]] for port in each["spec"]["ports"]] == [
                port["port"] for port in each["spec"]["ports"]
            ]
            assert each["spec"].get("type", "ClusterIP") == "ClusterIP"
        if each["kind"] == "NetworkPolicy":
            assert set(_chosen(each["spec"])) <= there


def _chosen(value: Any) -> Iterator[str]:
    """The values of `app` in selectors."""
    if isinstance(value, Mapping):
        if "app" in value.get("matchLabels", {}):
            yield value["matchLabels"]["app"]
        for each in value.get("matchExpressions", []):
            yield from each["values"]
        for each in value.values():
            yield from _chosen(each)
    elif isinstance(value, list):
        for each in value:
            yield from _chosen(each)


def test_pods_may_reach_only_what_is_named() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for _, each in DOCUMENTS if each["kind"] == "NetworkPolicy"}
    assert policies["closed"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    named = {app for name, each in policies.items() if name != "closed" for app in _chosen(each["podSelector"])}
    asked = {each["metadata"]["name"] for _, each in DOCUMENTS if each["kind"] == "Service"}
    assert named >= asked


def test_kustomize_has_every_file_and_asks_for_the_digest_of_every_image() -> None:
    written = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    by_hand = {"kustomization.yaml", "job.yaml"}
    assert set(written["resources"]) == {file.name for file in KUBERNETES.glob("*.yaml")} - by_hand
    images = {container["image"] for template in PODS.values() for container in template["spec"]["containers"]}
    assert {each["name"] for each in written["images"]} == images
    assert {each["digest"] for each in written["images"]} == {"sha256:REQUIRED"}


def test_a_job_by_hand_runs_a_command_on_the_cluster() -> None:
    (job,) = [each["spec"] for _, each in DOCUMENTS if each["kind"] == "RayJob"]
    refuse_unknown(shlex.split(job["entrypoint"]))
    (cluster,) = [each["metadata"]["name"] for _, each in DOCUMENTS if each["kind"] == "RayCluster"]
    assert job["clusterSelector"] == {"ray.io/cluster": cluster}


def test_buckets_are_made_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    moto = pytest.importorskip("moto")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    spec = importlib.util.spec_from_file_location("buckets", DEPLOY / "buckets.py")
    assert spec is not None
    assert spec.loader is not None
    buckets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(buckets)
    with moto.mock_aws():
        buckets.main(["finetune", "mlflow"])
        buckets.main(["finetune", "more"])
    assert capsys.readouterr().out.splitlines() == [
        f"made the bucket {name}" for name in ("finetune", "mlflow", "more")
    ]
