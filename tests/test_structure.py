"""The house rules that a machine can read in the sources: one direction, one home per library, nothing dangerous."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cli", "commands", "pipeline", "models")
SOURCES = sorted(p for room in ROOMS for p in [ROOT / f"{room}.py", *(ROOT / room).rglob("*.py")] if p.exists())

# A library that may be imported in these files only; a reader then knows where its traps are handled.
HOMES = {
    "av": {
        "pipeline/containers.py",
        "pipeline/packets.py",
        "pipeline/frames.py",
        "pipeline/pixels.py",
        "pipeline/walks.py",
        "pipeline/decode.py",
        "pipeline/pictures.py",
        "pipeline/drawing.py",
        "pipeline/compression.py",
        "pipeline/annotate.py",
        "pipeline/following.py",
        "pipeline/doctor.py",
    },
    "facenet_pytorch": {"pipeline/detector.py"},
    "zarr": {"pipeline/cache.py", "pipeline/codecs.py"},
    "h5py": {"pipeline/export.py"},
    "joblib": {"pipeline/workers.py", "pipeline/cluster.py"},
    "lightning": {"pipeline/train.py"},
    "timm": {"models"},
    "onnxruntime": {"pipeline/export_model.py"},
}

FORBIDDEN_MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "yaml",
    "socket",
    "subprocess",
    "urllib",
    "requests",
    "http",
}
FORBIDDEN_CALLS = {"system", "popen", "add_safe_globals"}


def imports(path: Path) -> set[str]:
    """Every module a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    above = ROOMS[: ROOMS.index(room)]
    wrong = {name for name in imports(path) if name.split(".")[0] in (*above, "tests", "benchmarks")}
    assert not wrong, f"{path} imports {wrong}"


def test_there_is_no_import_cycle() -> None:
    graph = {}
    names = {
        path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES
    }
    modules = set(names.values())
    for path, name in names.items():
        tree = ast.parse(path.read_text())
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        found = set()
        for node in top:
            if isinstance(node, ast.ImportFrom) and node.module:
                # `from package import module` needs the module; the package itself only for its own names
                inner = {f"{node.module}.{a.name}" for a in node.names}
                found |= inner if inner <= modules else {node.module, *inner}
            elif isinstance(node, ast.Import):
                found |= {a.name for a in node.names}
        graph[name] = found
    seen: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert seen.get(name) != 1, f"import cycle: {' -> '.join((*trail, name))}"
        if name in graph and seen.get(name) != 2:
            seen[name] = 1
            for other in sorted(graph[name] & graph.keys() - {name}):
                visit(other, (*trail, name))
            seen[name] = 2

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("library", HOMES)
def test_each_heavy_library_has_one_home(library: str) -> None:
    users = {str(p.relative_to(ROOT)) for p in SOURCES if library in {n.split(".")[0] for n in imports(p)}}
    strangers = {u for u in users if u not in HOMES[library] and u.split("/")[0] not in HOMES[library]}
    assert not strangers, f"{library} is imported in {strangers}; its home is {HOMES[library]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_unpickles_calls_a_shell_or_opens_a_socket(path: Path) -> None:
    assert not {n.split(".")[0] for n in imports(path)} & FORBIDDEN_MODULES
    for call in calls(path):
        assert name_of(call) not in FORBIDDEN_CALLS or ast.unparse(call.func) == "platform.system"
        assert getattr(call.func, "id", "") not in ("eval", "exec")  # model.eval() is another word
        named = {k.arg: k.value for k in call.keywords}
        if name_of(call) == "load" and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            if call.func.value.id == "torch":
                assert isinstance(named.get("weights_only"), ast.Constant) and named["weights_only"].value is True
                assert "pickle_module" not in named and path.name in ("checkpoint.py", "cascade.py")
            assert call.func.value.id != "joblib"
            if call.func.value.id in ("np", "numpy"):
                assert not isinstance(named.get("allow_pickle"), ast.Constant) or named["allow_pickle"].value is False
        assert "shell" not in named


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parts[-2] != "commands"], ids=lambda p: p.name)
def test_only_commands_speak_to_the_terminal(path: Path) -> None:
    assert "print" not in {name_of(call) for call in calls(path)}


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, cli; cli.main(['--help']); print([m for m in ('torch', 'av', 'zarr') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert out.strip().endswith("[]")
