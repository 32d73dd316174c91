"""The files in deploy/: by the schemas of those who read them, and against what the server has."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tactful.cli import app
from tactful.serving.settings import ServeConfig
from tests.serving.running import Running, running, until

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
UNIT = (DEPLOY / "tactful.service").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
CLUSTER: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
)
POD: dict[str, Any] = CLUSTER[0]["spec"]["template"]["spec"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
EXPRESSIONS = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]


def _instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with the rest of its line, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.strip().partition(" ") for line in text.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in found]


def _of(instruction: str) -> list[str]:
    return [rest for name, rest in _instructions() if name == instruction]


def _started_with(name: str) -> str:
    """The value of a setting of the unit."""
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(found)


COMMANDS = {
    "Dockerfile": json.loads(_of("ENTRYPOINT")[0]) + json.loads(_of("CMD")[0]),
    "Dockerfile, models": [
        "tactful",
        *shlex.split(re.findall(r"tactful (fetch .*?);", DOCKERFILE)[0]),
    ],
    "compose.yaml": ["tactful", *COMPOSE["services"]["tactful"]["command"]],
    "kubernetes.yaml": ["tactful", *POD["containers"][0]["args"]],
    "tactful.service": ["tactful", *shlex.split(_started_with("ExecStart"))[1:]],
}


@pytest.mark.parametrize("where", COMMANDS)
def test_each_command_is_one_that_tactful_takes(where: str) -> None:
    """Verb and options exist, and their values are of the right kind."""
    program, verb, *options = COMMANDS[where]
    assert program == "tactful"
    command: Any = typer.main.get_command(app)
    found = command.commands[verb].make_context(verb, options)
    if verb == "serve" and where != "Dockerfile":
        # Nobody is served beyond a container or a machine without keys.
        assert found.params["keys"] is not None


def test_what_the_image_copies_is_there_and_let_through() -> None:
    """Each COPY from the repository names a file that exists and that the build is given."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    given = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = [
        source for rest in _of("COPY") if "--from=" not in rest for source in rest.split()[:-1]
    ]
    assert set(copied) == given
    for source in copied:
        assert (ROOT / source).exists(), source


def test_the_package_is_built_from_what_is_copied(tmp_path: Path) -> None:
    """All files that pyproject.toml asks for are among those that the image copies."""
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = re.findall(r'readme = "(.*?)"', pyproject)
    asked += re.findall(r'"(\w+)"', re.findall(r"license-files = \[(.*?)\]", pyproject)[0])
    before = DOCKERFILE[: DOCKERFILE.index(".[serve]")]
    for name in asked:
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", before, re.MULTILINE), name


def test_copies_between_stages_name_a_stage() -> None:
    stages = {line.split(" AS ")[1] for line in _of("FROM") if " AS " in line}
    named = [re.findall(r"--from=(\S+)", rest) for rest in _of("COPY")]
    assert {stage for some in named for stage in some} == stages


def test_nobody_is_root() -> None:
    """The image's user is the one that the other files take for granted."""
    last = _of("USER")[-1]
    uid = last.split(":")[0]
    assert uid != "0"
    assert f"--uid {uid}" in DOCKERFILE
    context = POD["securityContext"]
    assert context["runAsNonRoot"]
    assert last == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert _started_with("DynamicUser") == "yes"


def test_compose_is_what_compose_reads(tmp_path: Path) -> None:
    """By the schema of the Compose specification, which refuses a key that it does not know."""
    assert _compose(DEPLOY / "compose.yaml") == 0
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(
        (DEPLOY / "compose.yaml").read_text("utf-8").replace("read_only:", "readonly:"), "utf-8"
    )
    assert _compose(wrong) == 1


def _compose(path: Path) -> int:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, str(path)], capture_output=True, check=False).returncode


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_the_cluster_takes_its_manifest(version: str, tmp_path: Path) -> None:
    """By the schemas of an old and a new Kubernetes, which refuse a key that they do not know."""
    assert _kubernetes(DEPLOY / "kubernetes.yaml", version) == 0
    wrong = tmp_path / "kubernetes.yaml"
    wrong.write_text(
        (DEPLOY / "kubernetes.yaml").read_text("utf-8").replace("runAsUser:", "runasUser:"), "utf-8"
    )
    assert _kubernetes(wrong, version) != 0


def _kubernetes(path: Path, version: str) -> int:
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_the_manifest_fits_itself() -> None:
    """Selectors find the pods, ports and volumes have the names that others call them by."""
    labels = CLUSTER[0]["spec"]["template"]["metadata"]["labels"]
    kinds = {document["kind"]: document["spec"] for document in CLUSTER}
    assert kinds["Service"]["selector"] == labels
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert kinds[kind]["selector"]["matchLabels"] == labels
    assert kinds["NetworkPolicy"]["podSelector"]["matchLabels"] == labels
    (container,) = POD["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports[kinds["Service"]["ports"][0]["targetPort"]] == ServeConfig().port
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in POD["volumes"]} == set(mounts)
    keys = container["args"][container["args"].index("--keys") + 1]
    assert Path(keys).parent == Path(mounts["keys"])


def test_what_was_admitted_can_be_answered_before_the_end() -> None:
    """Every file gives a server its deadline, the moment it lingers, and some air."""
    config = ServeConfig()
    needed = config.deadline + config.linger + 1.0
    assert int(_started_with("TimeoutStopSec")) > needed
    assert int(COMPOSE["services"]["tactful"]["stop_grace_period"].removesuffix("s")) > needed
    pause = int(POD["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > pause + needed
    startup = POD["containers"][0]["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= config.start_timeout


@pytest.fixture(scope="module")
def systemd() -> str:
    """The program that reads units."""
    found = shutil.which("systemd-analyze")
    if found is None and not os.environ.get("CI"):
        pytest.skip("needs systemd-analyze, of the Debian package systemd")
    assert found is not None, "CI installs .ci/debian-packages.txt"
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, of a program that is on this machine."""
    program = Path(sys.executable).with_name("tactful")
    text = UNIT.replace("/opt/tactful/bin/tactful", str(program))
    assert text != UNIT
    path = tmp_path / "tactful.service"
    path.write_text(text, encoding="utf-8")
    return path


def test_systemd_reads_the_unit(systemd: str, unit: Path) -> None:
    """Nothing in it is unknown; an unknown setting, which systemd would pass over, is found."""
    assert _verify(systemd, unit) == ""
    unit.write_text(unit.read_text("utf-8").replace("ProtectHome=", "ProtectHomes="), "utf-8")
    assert "ProtectHomes" in _verify(systemd, unit)


def _verify(systemd: str, unit: Path) -> str:
    done = subprocess.run(
        [systemd, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_unit_is_as_tight_as_it_was(systemd: str, unit: Path) -> None:
    """Exposure by systemd's own reckoning, of 10; every setting that is lost adds to it."""
    done = subprocess.run(
        [systemd, "security", "--offline=true", "--threshold=12", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_the_health_check_tells_ready_from_not(socket_enabled: None) -> None:
    """The image's own command, and compose's, asked of a real server, and once it has ended."""
    (told,) = _of("HEALTHCHECK")
    in_image = json.loads(told[told.index("CMD") + 3 :])
    in_compose = COMPOSE["services"]["tactful"]["healthcheck"]["test"]
    assert in_compose == ["CMD", *in_image]
    assert in_image[0] == "python"
    with running("at_once") as server:
        _, port = server.host_port
        command = [sys.executable, *(part.replace(":8000/", f":{port}/") for part in in_image[1:])]
        assert f":{port}/readyz" in command[-1]
        assert subprocess.run(command, check=False).returncode == 0
        server.stop()
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_probes_and_scrapes_ask_for_routes_that_exist() -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    (container,) = POD["containers"]
    asked = {
        container[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "readiness", "liveness")
    }
    scraped = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text(encoding="utf-8"))
    asked |= {job["metrics_path"] for job in scraped["scrape_configs"]}
    assert asked == {"/readyz", "/livez", "/metrics"}
    assert asked <= set(document["paths"])


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """What a server tells Prometheus after a bit of everything: names of samples, their labels."""
    with running("at_once") as server:
        server.rewrite("you idiot")
        server.post("/v1/score", {"text": "you idiot"})
        server.client.get("/nowhere")
        server.rewrite(":die")
        until(lambda: server.metric('tactful_engine_restarts_total{reason="died"}') > 0)
        text = server.client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.enable_socket
def test_the_dashboard_asks_for_metrics_that_exist(exposed: dict[str, set[str]]) -> None:
    """Each metric and each label in each panel; `instance` is what Prometheus itself adds."""
    for title, expression, legend in EXPRESSIONS:
        names = set(re.findall(r"\b(?:tactful|process)_\w+", expression))
        assert names, title
        assert names <= set(exposed), title
        labels = set().union(*(exposed[name] for name in names)) | {"instance"}
        used = set(re.findall(r"\{\{(\w+)\}\}", legend))
        used |= set(re.findall(r"(\w+)\s*=~?\"", expression))
        for grouped in re.findall(r"by \((.*?)\)", expression):
            used |= set(re.split(r"[,\s]+", grouped))
        assert used <= labels, title


@pytest.mark.enable_socket
def test_the_dashboard_leaves_none_of_ours_out(exposed: dict[str, set[str]]) -> None:
    """What the server tells is worth seeing."""
    shown = " ".join(expression for _, expression, _ in EXPRESSIONS)
    ours = {
        re.sub(r"_(bucket|sum|count|created)$", "", name)
        for name in exposed
        if name.startswith("tactful_")
    }
    counters = {name for name in ours if f"{name}_total" in ours}
    for name in ours - counters:
        assert name in shown, name


_READ_ONLY = """#!/bin/sh
# Its own mounts, all of them read-only, and no capability to change that.
exec unshare --mount --propagation private sh -c '
  for place in $(cut -d" " -f5 /proc/self/mountinfo); do
    case $place in
      /proc*|/sys*|/dev*) ;;
      *) mount -o remount,bind,ro "$place" 2>/dev/null ;;
    esac
  done
  touch {probe} 2>/dev/null && exit 77
  exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$0" "$@"
' {python} "$@"
"""


def test_a_server_needs_nothing_to_write_to(
    socket_enabled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On file systems that are all read-only it becomes ready, answers, and ends with 0."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine's kernel does not let us have mounts of our own (unshare)")
    probe = tmp_path / "written"
    python = tmp_path / "python"
    python.write_text(_READ_ONLY.format(probe=probe, python=sys.executable), encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with running("at_once") as server:
        assert server.rewrite("you idiot").json()["results"][0]["text"] == "you person"
        assert server.post("/v1/score", {"text": "you idiot"}).status_code == 200
        assert _capabilities(server) == 0
        assert server.stop() == 0
    assert not probe.exists()


def _capabilities(server: Running) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    (found,) = re.findall(r"^CapBnd:\s*(\w+)$", status, re.MULTILINE)
    return int(found, 16)
