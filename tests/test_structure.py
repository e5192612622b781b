"""The house rules that a machine can read in the sources: one direction, one home per library,
nothing dangerous.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = ("commands", "pipeline", "models")
SOURCES = [ROOT / "cli.py", *sorted((ROOT / "unmask").glob("*.py"))]
SOURCES += sorted((ROOT / "unmask" / "testing").glob("*.py"))
SOURCES += sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))

# The contract. A package may import those on the lines below its own, and never another on the same
# line.
CONTRACT = """
commands | unmask | testing
demo | doctor
prediction | evaluation
shortcuts | quality
training | reports
features
extraction | clips
manifests | zoo
faces | cache | scores | runs
decode | sources | disk | machine
config | records | formats | errors | models
plugins
"""
LEVEL = {
    package: level
    for level, line in enumerate(CONTRACT.strip().splitlines())
    for package in line.split(" | ")
}

# A library may be imported in these places only; a reader then knows where its traps are handled.
HOMES = {
    "av": {
        "pipeline/decode",
        "pipeline/clips/h264.py",
        "pipeline/clips/transcode.py",
        "pipeline/prediction/annotated_video.py",
        "pipeline/prediction/sound.py",
        "pipeline/demo/drawing.py",
        "pipeline/doctor.py",
    },
    "facenet_pytorch": {"pipeline/faces/detector.py"},
    "zarr": {"pipeline/cache"},
    "h5py": {
        "pipeline/clips/hdf5.py",
        "pipeline/clips/hdf5_writer.py",
        "pipeline/zoo/keras_file.py",
    },
    "joblib": {"pipeline/machine", "pipeline/extraction"},
    "lightning_fabric": {"pipeline/training/fabric.py"},
    "timm": {"models"},
    "onnxruntime": {"pipeline/prediction"},
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
# The one file that may open a connection: a released file that the user asked for by name.
NETWORK = {"pipeline/zoo/fetch.py": {"urllib", "http"}}
FORBIDDEN_CALLS = {"system", "popen", "add_safe_globals"}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path) -> set[str]:
    """Every module a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def module_of(path: Path) -> str:
    """The dotted name a file is imported by."""
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return dotted if dotted.startswith(("unmask", "cli")) else f"unmask.{dotted}"


MODULES = {module_of(path) for path in SOURCES}


def package_of(module: str) -> str:
    """The word of the contract that a module belongs to: `cache`, `errors`, `models`, `commands`,
    `unmask`.
    """
    parts = module.split(".")
    if parts[0] != "unmask" or len(parts) == 1:
        return "unmask"
    return parts[2] if parts[1] == "pipeline" and len(parts) > 2 else parts[1]


@functools.cache
def ours(path: Path) -> set[tuple[str, str]]:
    """(module, name) of everything of ours that a file imports, at its top or inside a function.

    A module that is imported whole counts with each attribute that the file takes from it; one
    whose name is written as a text, to be imported later, counts as well.
    """
    tree = tree_of(path)
    taken: set[tuple[str, str]] = set()
    whole: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("unmask"):
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                if dotted in MODULES:
                    whole[alias.asname or alias.name] = dotted
                    taken.add((dotted, ""))
                else:
                    taken.add((node.module, alias.name))
        elif isinstance(node, ast.Constant) and node.value in MODULES - {"unmask"}:
            taken.add((str(node.value), ""))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in whole
        ):
            taken.add((whole[node.value.id], node.attr))
    return taken


@functools.cache
def crossings() -> dict[str, dict[str, set[str]]]:
    """Package -> file -> names that other packages take from it."""
    found: dict[str, dict[str, set[str]]] = {}
    for path in SOURCES:
        for module, name in ours(path):
            package, parts = package_of(module), module.split(".")
            if name and package != package_of(module_of(path)) and len(parts) > 3:
                found.setdefault(package, {}).setdefault(".".join(parts[3:]), set()).add(name)
    return found


def listed(package: str) -> dict[str, set[str]]:
    """File -> names of the interface that a package's docstring lists."""
    text = (
        ast.get_docstring(ast.parse((ROOT / "pipeline" / package / "__init__.py").read_text()))
        or ""
    )
    entries = re.findall(
        r"^    ([\w.]+): ((?:.|\n        )+)", text.partition("Interface, by file:")[2], re.M
    )
    return {file: set(re.findall(r"\w+", names)) for file, names in entries}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_package_imports_only_from_the_lines_below_its_own(path: Path) -> None:
    own = package_of(module_of(path))
    if (
        path.parent == ROOT or own == "pipeline"
    ):  # cli.py starts the command line; pipeline/__init__ is the drawing
        return
    used = {package_of(module) for module, _ in ours(path)} - {own}
    wrong = {package for package in used if LEVEL[package] <= LEVEL[own]}
    assert not wrong, f"{path.relative_to(ROOT)} is of {own} and imports from {wrong}"
    assert not {name.split(".")[0] for name in imports(path)} & {"tests", "benchmarks", *TOPS}


def test_every_package_is_in_the_contract() -> None:
    packages = {
        path.name for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").exists()
    }
    files = {path.stem for path in (ROOT / "pipeline").glob("*.py")} - {"__init__"}
    library = {"unmask", "testing", "plugins"}
    assert packages | files | library | {"commands", "models"} == set(LEVEL)


@pytest.mark.parametrize(
    "package", sorted(p.parent.name for p in (ROOT / "pipeline").glob("*/__init__.py"))
)
def test_a_name_that_crosses_a_border_is_listed_in_its_package(package: str) -> None:
    taken, promised = crossings().get(package, {}), listed(package)
    missing = {
        f"{file}: {name}"
        for file, names in taken.items()
        for name in names - promised.get(file, set())
    }
    assert not missing, f"pipeline/{package}/__init__.py does not list {sorted(missing)}"
    for file, names in promised.items():
        tree = ast.parse((ROOT / "pipeline" / package / f"{file.replace('.', '/')}.py").read_text())
        known = {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        known |= {
            name.id for node in tree.body for name in ast.walk(node) if isinstance(name, ast.Name)
        }
        assert names <= known, (
            f"pipeline/{package}/__init__.py lists {names - known}, which {file}.py lacks"
        )
    assert not imports(ROOT / "pipeline" / package / "__init__.py"), (
        "a package's __init__ imports nothing"
    )


def test_files_of_one_package_import_each_other_without_a_circle() -> None:
    graph = {module_of(path): {module for module, _ in ours(path)} for path in SOURCES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import cycle: {' -> '.join((*trail, module))}"
        if module not in done:
            for other in sorted(graph.get(module, set()) - {module}):
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("library", HOMES)
def test_each_heavy_library_has_one_home(library: str) -> None:
    users = {
        str(p.relative_to(ROOT))
        for p in SOURCES
        if library in {n.split(".")[0] for n in imports(p)}
    }
    strangers = {
        u
        for u in users
        if not any(u == home or u.startswith(f"{home}/") for home in HOMES[library])
    }
    assert not strangers, f"{library} is imported in {strangers}; its home is {HOMES[library]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_unpickles_calls_a_shell_or_opens_a_socket(path: Path) -> None:
    allowed = NETWORK.get(str(path.relative_to(ROOT)), set())
    assert not {n.split(".")[0] for n in imports(path)} & (FORBIDDEN_MODULES - allowed)
    for call in calls(path):
        assert name_of(call) not in FORBIDDEN_CALLS or ast.unparse(call.func) == "platform.system"
        assert getattr(call.func, "id", "") not in ("eval", "exec")  # model.eval() is another word
        named = {k.arg: k.value for k in call.keywords}
        if (
            name_of(call) == "load"
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
        ):
            if call.func.value.id == "torch":
                assert (
                    isinstance(named.get("weights_only"), ast.Constant)
                    and named["weights_only"].value is True
                )
                assert "pickle_module" not in named
                assert path.name in ("checkpoint.py", "networks.py", "weights.py")
            assert call.func.value.id != "joblib"
            if call.func.value.id in ("np", "numpy"):
                assert (
                    not isinstance(named.get("allow_pickle"), ast.Constant)
                    or named["allow_pickle"].value is False
                )
        assert "shell" not in named


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if "commands" not in p.parts and p.name != "cli.py"],
    ids=lambda p: p.name,
)
def test_only_commands_speak_to_the_terminal(path: Path) -> None:
    assert "print" not in {name_of(call) for call in calls(path)}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from unmask.commands import main as cli; cli.main(['--help']); print([m "
        "for m in ('torch', 'av', 'zarr') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    assert out.strip().endswith("[]")


def test_what_a_newer_pyav_does_otherwise_is_known_in_one_file() -> None:
    asking = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Attribute) and node.attr == "side_data")
        or (isinstance(node, ast.Name) and node.id == "PYAV")
    }
    assert asking == {"pipeline/decode/containers.py"}
