"""A store that a group shares: what is written follows the umask, and what is denied costs what needs it, in a line."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from other_users import let_others_in

from rlbench.graph.artifact import Store
from rlbench.graph.local_executor import LocalExecutor
from rlbench.graph.stage import Stage, StageContext

ROOT = Path(__file__).parents[1]


def by_open(folder: Path) -> None:
    (folder / "open.txt").write_text("text")


def by_temporary_file(folder: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(b"text")
    os.rename(file.name, folder / "temporary.bin")


def from_elsewhere(folder: Path) -> None:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"text")
    shutil.move(file.name, folder / "elsewhere.bin")


def in_a_folder_of_its_own(folder: Path) -> None:
    below = Path(tempfile.mkdtemp(dir=folder)) / "below"
    below.mkdir(mode=0o700)
    os.close(os.open(below / "private.bin", os.O_CREAT | os.O_WRONLY, 0o600))


def without_permissions(folder: Path) -> None:
    below = folder / "closed"
    below.mkdir()
    (below / "file").touch()
    (below / "file").chmod(0)


def safetensors(folder: Path) -> None:
    numpy, save = pytest.importorskip("numpy"), pytest.importorskip("safetensors.numpy")
    save.save_file({"x": numpy.zeros(3)}, folder / "model.safetensors")


def program(folder: Path) -> None:
    (folder / "program.sh").write_text("true")
    (folder / "program.sh").chmod(0o700)


WRITERS: dict[str, Callable[[Path], None]] = {
    writer.__name__: writer
    for writer in (
        by_open,
        by_temporary_file,
        from_elsewhere,
        in_a_folder_of_its_own,
        without_permissions,
        safetensors,
        program,
    )
}


def write(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    WRITERS[config["by"]](output)


def stage(by: str = "by_open", **inputs: Stage) -> Stage:
    return Stage(f"s/{by}", f"{__name__}:write", 1, {"by": by, "inputs": sorted(inputs)}, inputs)


@pytest.fixture(params=[0o002, 0o007, 0o022, 0o077], ids=lambda mask: f"{mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def made(store: Store) -> Iterator[tuple[Path, os.stat_result]]:
    for path in (store.root, *store.root.rglob("*")):
        yield path, path.stat()


@pytest.mark.parametrize("by", WRITERS)
def test_what_a_stage_writes_follows_the_umask_however_it_is_written(umask: int, by: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "shared" / "store")
    results = LocalExecutor().execute([stage(by)], store)
    assert [result.status for result in results.values()] == ["done"]
    Store(store.root).open(stage(by).fingerprint)
    for path, found in made(store):
        most = 0o777 if path.is_dir() or path.name == "program.sh" else 0o666
        assert stat.S_IMODE(found.st_mode) == most & ~umask, path


def another_group() -> int:
    if os.getuid() == 0:
        return 54321
    others = [group for group in os.getgroups() if group != os.getgid()]
    if not others:
        pytest.skip("this user has one group")
    return others[0]


@pytest.mark.parametrize("by", WRITERS)
def test_in_the_folder_of_a_group_what_is_written_stays_the_groups(by: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, -1, another_group())
    shared.chmod(0o2775)
    store = Store(shared / "store")
    LocalExecutor().execute([stage(by)], store)
    assert {found.st_gid for _, found in made(store)} == {another_group()}
    assert all(found.st_mode & stat.S_ISGID for path, found in made(store) if path.is_dir())


AS_NOBODY = """if True:
    import os, sys, warnings
    warnings.simplefilter("error")
    sys.path.insert(0, {tests!r})
    from test_permissions import *
    from rlbench.graph import provenance
    provenance.git_state(), provenance.machine()
    import hashlib, json, tempfile
    if os.getuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    upstream = stage("by_open")
    targets = [stage("in_a_folder_of_its_own", above=upstream), stage("by_temporary_file")]
    for result in LocalExecutor().execute(targets, Store({store!r})).values():
        print(result.stage.name, result.status, result.cached, result.bad_input, result.reason, sep="|")
    """


def as_nobody(store: Store) -> dict[str, list[str]]:
    """How the stages of a run by somebody without rights end: status, cached, whether it is bad input, and reason."""
    code = AS_NOBODY.format(tests=str(Path(__file__).parent), store=str(store.root))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {line.split("|")[0]: line.split("|")[1:] for line in done.stdout.splitlines()}


def close_folder(folder: Path) -> Path:
    folder.chmod(0)
    return folder


def close_prefix(folder: Path) -> Path:
    folder.parent.chmod(0o600)
    return folder.parent


def close_manifest(folder: Path) -> Path:
    (folder / "manifest.json").chmod(0o200)
    return folder / "manifest.json"


def close_file(folder: Path) -> Path:
    path = next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json")
    path.chmod(0)
    return path


def close_folder_below(folder: Path) -> Path:
    path = next(path for path in sorted(folder.rglob("*")) if path.is_dir())
    path.chmod(0o600)
    return path


CLOSERS = [close_folder, close_prefix, close_manifest, close_file, close_folder_below]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in which everybody may write, with a target, its input and nothing else."""
    before = os.umask(0)
    yielded = Store(tmp_path / "store")
    LocalExecutor().execute([stage("in_a_folder_of_its_own", above=stage("by_open"))], yielded)
    os.umask(before)
    let_others_in(tmp_path)
    yield yielded
    for path in (tmp_path / "store").rglob("*"):
        path.chmod(0o700)


@pytest.mark.parametrize("close", CLOSERS, ids=lambda close: close.__name__)
def test_what_cannot_be_read_is_told_with_its_owner_and_costs_what_needs_it(
    close: Callable[[Path], Path], store: Store
) -> None:
    target = store.path(stage("in_a_folder_of_its_own", above=stage("by_open")).fingerprint)
    closed = close(target)
    mode = stat.filemode(closed.stat().st_mode)
    found = as_nobody(store)
    status, cached, bad_input, reason = found["s/in_a_folder_of_its_own"]
    assert (status, cached, bad_input) == ("error", "False", "True")
    assert reason.startswith(f"store {store.root}: {closed} cannot be read by ") and mode in reason
    assert found["s/by_temporary_file"][:2] == ["done", "False"]
    assert target.exists() and list((store.root / "quarantine").iterdir()) == []


@pytest.mark.parametrize("close", CLOSERS[:-1], ids=lambda close: close.__name__)
def test_what_nobody_needs_may_be_unreadable(close: Callable[[Path], Path], store: Store) -> None:
    closed = close(store.path(stage("by_open").fingerprint))
    if closed.parent.name == "artifacts" and store.path(
        stage("in_a_folder_of_its_own", above=stage("by_open")).fingerprint
    ).is_relative_to(closed):
        pytest.skip("both lie in the folder that was closed")
    found = as_nobody(store)
    assert found["s/in_a_folder_of_its_own"][:2] == ["done", "True"]
    assert found["s/by_temporary_file"][0] == "done"


@pytest.mark.parametrize("name", ["leases", "tmp", "artifacts"])
def test_a_store_that_cannot_be_written_is_one_line(name: str, store: Store) -> None:
    (store.root / name).chmod(0o555)
    code = AS_NOBODY.format(tests=str(Path(__file__).parent), store=str(store.root))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert f"store {store.root}: {store.root / name} cannot be written by " in done.stdout + done.stderr
    assert "dr-xr-xr-x" in done.stdout + done.stderr
