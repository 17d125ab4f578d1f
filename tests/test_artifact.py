"""The store holds whole, verified artifacts, whatever happens around it."""

from __future__ import annotations

import errno
import getpass
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import FrameType

import pytest
from other_users import let_others_in

from rlbench.graph import artifact
from rlbench.graph import lease as leases
from rlbench.graph.artifact import MissingArtifact, Store
from rlbench.records import UserError

FP = "ab" + 62 * "0"
ROOT = Path(__file__).parents[1]


def publish(store: Store, text: str = "hello", status: str = "done", fingerprint: str = FP) -> dict:
    with store.folder(fingerprint) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "text.txt").write_text(text)
        (folder / "empty").touch()
        return store.publish(fingerprint, folder, {"status": status, "reason": None})


def python(code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_what_was_published_is_there_with_its_manifest(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.status(FP) is None
    publish(store)
    again = Store(tmp_path / "store")
    assert again.status(FP) == "done"
    assert (again.open(FP) / "sub" / "text.txt").read_text() == "hello"
    assert again.manifest(FP)["files"]["sub/text.txt"]["size"] == 5
    assert again.path(FP) == tmp_path / "store" / "artifacts" / "ab" / FP
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_a_failure_is_an_artifact_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, status="failed")
    assert store.status(FP) == "failed"


def test_an_absent_artifact_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="ab0000000000 is not in the store"):
        Store(tmp_path).open(FP)


def test_the_first_to_publish_wins_and_the_second_is_dropped_quietly(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with second.folder(FP) as folder:
            (folder / "late.txt").touch()
            publish(first, "first")
            assert "sub/text.txt" in second.publish(FP, folder, {"status": "done"})["files"]
    assert (second.open(FP) / "sub" / "text.txt").read_text() == "first"
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("reopened", [True, False])
@pytest.mark.parametrize(
    "tamper",
    [
        lambda folder: (folder / "sub" / "text.txt").write_text("jello"),
        lambda folder: (folder / "sub" / "text.txt").unlink(),
        lambda folder: (folder / "extra.txt").touch(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff{"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: (folder / "manifest.json").write_text('{"status": "done"}'),
    ],
)
def test_a_tampered_artifact_is_moved_away_and_absent(tmp_path: Path, tamper, reopened: bool) -> None:
    store = Store(tmp_path)
    publish(store)
    store.open(FP)
    time.sleep(0.01)  # file times are as fine as the kernel's tick
    tamper(store.path(FP))
    store = Store(tmp_path) if reopened else store
    with (
        pytest.warns(RuntimeWarning, match="ab0000000000 is not as it was published") as caught,
        pytest.raises(MissingArtifact),
    ):
        store.open(FP)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert store.status(FP) is None
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
    publish(store)
    assert (store.open(FP) / "sub" / "text.txt").read_text() == "hello"


def test_files_are_hashed_once_a_process_while_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(Store(tmp_path))
    store, hashed = Store(tmp_path), []
    from rlbench.graph import artifact

    real = artifact.file_fingerprint
    monkeypatch.setattr(artifact, "file_fingerprint", lambda path: (hashed.append(path.name), real(path))[1])
    store.open(FP)
    store.open(FP)
    assert sorted(hashed) == ["empty", "text.txt"]
    os.utime(store.path(FP) / "empty")
    store.open(FP)
    assert len(hashed) == 4


def test_a_stage_can_neither_write_the_manifest_nor_a_link(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.folder(FP) as folder, pytest.raises(ValueError, match=r"must not write a file named manifest\.json"):
        (folder / "manifest.json").touch()
        store.publish(FP, folder, {"status": "done"})
    with store.folder(FP) as folder, pytest.raises(ValueError, match="link"):
        (folder / "link").symlink_to(tmp_path)
        store.publish(FP, folder, {"status": "done"})
    assert store.status(FP) is None


def test_a_store_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        for create in (True, False):
            if path.name == "below" and not create:
                continue  # only looking is fine: nothing is there
            with pytest.raises(UserError, match=f"^store {path}: .* is a file; name a folder$"):
                Store(path, create=create)


def test_a_store_without_permission_is_refused_in_one_line(tmp_path: Path) -> None:
    """As an unprivileged user, in a process of its own, since root may write everywhere."""
    code = """if True:
        import os, sys
        from rlbench.graph.artifact import Store
        from rlbench.records import UserError
        Store(sys.argv[1] + "/there")
        os.chmod(sys.argv[1] + "/there/tmp", 0o555)
        if os.getuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        closed = lambda: Store(sys.argv[1] + "/closed/new")
        there = lambda: Store(sys.argv[1] + "/there").folder("ab").__enter__()
        for action in (closed, there):
            try:
                action()
            except UserError as error:
                print(error)
        """
    (tmp_path / "closed").mkdir(mode=0o555)
    let_others_in(tmp_path)
    out, err = python(code, str(tmp_path)).communicate()
    first, second = out.splitlines()
    owner = f"by nobody (dr-xr-xr-x, owner {getpass.getuser()}, " if os.getuid() == 0 else "("
    assert first.startswith(f"store {tmp_path}/closed/new: {tmp_path}/closed cannot be written {owner}"), err
    assert second.startswith(f"store {tmp_path}/there: {tmp_path}/there/tmp cannot be written {owner}"), err
    assert first.endswith("); ask for permission or name another store")


def test_a_full_disk_is_refused_in_one_line(tmp_path: Path) -> None:
    """On a real file system of 256 kB, where this machine lets one mount it in a namespace of its own."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    code = """if True:
        import sys
        from rlbench.graph.artifact import Store
        from rlbench.records import UserError
        store = Store(sys.argv[1])
        with store.folder("ab" * 32) as folder:
            try:
                with open(folder / "big", "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
            except OSError as error:
                assert error.errno == 28
            try:
                store.publish("ab" * 32, folder, {"status": "done"})
            except UserError as error:
                print(error)
            try:
                with store.lease("cd" * 32):
                    pass
            except UserError as error:
                print(error)
        with store.folder("ab" * 32) as folder:
            store.publish("ab" * 32, folder, {"status": "done"})
        print(store.status("ab" * 32))
        """
    mount = f"mount -t tmpfs -o size=256k none {tmp_path} && exec {sys.executable} -c '{code}' {tmp_path}"
    out = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, cwd=ROOT)
    line = f"store {tmp_path}: no space left on the device; free some or name another folder"
    assert out.stdout.splitlines() == [line, line, "done"], out.stderr


def test_only_looking_at_a_store_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "new", create=False)
    assert store.status(FP) is None
    assert not (tmp_path / "new").exists()
    publish(store)
    assert store.status(FP) == "done"


def test_leftovers_of_dead_processes_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    Store(tmp_path)
    code = """if True:
        import sys, time
        from rlbench.graph.artifact import Store
        store = Store(sys.argv[1])
        with store.lease("ab" * 32), store.folder("ab" * 32) as folder:
            print(folder, flush=True)
            time.sleep(60)
        """
    process = python(code, str(tmp_path))
    folder = Path(process.stdout.readline().strip())
    Store(tmp_path)
    assert folder.is_dir()
    process.kill()  # and not waited for: a zombie is dead
    deadline = time.monotonic() + 10
    while leases.is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    elsewhere = tmp_path / "tmp" / "ab0000000000.otherhst.1.00000000"
    old = tmp_path / "tmp" / "cd0000000000.otherhst.1.00000000"
    elsewhere.mkdir()
    old.mkdir()
    os.utime(old, (0, time.time() - 25 * 3600))
    Store(tmp_path)
    assert list((tmp_path / "tmp").iterdir()) == [elsewhere]
    assert list((tmp_path / "leases").iterdir()) == []
    process.communicate()


def write_lease(store: Store, **values) -> Path:
    path = store.root / "leases" / f"{FP}.json"
    path.write_text(json.dumps({"host": leases.host(), "pid": os.getpid(), "token": "theirs", **values}))
    return path


def test_a_lease_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    process = python("")
    process.communicate()
    path = write_lease(store, pid=process.pid)
    start = time.monotonic()
    with store.lease(FP) as lease:
        assert lease is not None
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert time.monotonic() - start < 1
    assert not path.exists()


def test_a_lease_of_another_host_is_waited_for_while_it_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "STALE_S", 0.8)
    store = Store(tmp_path)
    path = write_lease(store, host="elsewhere ns", pid=1)
    os.utime(path, (0, time.time() + 120))  # its clock goes wrong, which must not matter
    heard: list[str] = []

    def waiting(note: str) -> None:
        heard.append(note)
        if len(heard) == 3:
            os.utime(path)

    start = time.monotonic()
    with store.lease(FP, waiting) as lease:
        assert lease is not None
    assert 1.2 <= time.monotonic() - start < 5  # two pauses of 0.2 s, then as long as it takes to go stale
    assert heard[0] == "waiting for process 1 on elsewhere"


def test_waiting_ends_when_the_other_one_publishes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = write_lease(store)
    with store.lease(FP, waiting=lambda note: publish(store)) as lease:
        assert lease is None
    assert json.loads(path.read_text())["token"] == "theirs"


def test_a_lease_beats_and_keeps_its_folder_young(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_S", 0.05)
    store = Store(tmp_path)
    with store.lease(FP) as lease, store.folder(FP) as folder:
        lease.guard(folder)
        for path in (folder, lease.path):
            os.utime(path, (0, 0))
        time.sleep(0.5)
        assert folder.stat().st_mtime > 1e9
        assert lease.path.stat().st_mtime > 1e9


def test_a_lease_that_somebody_took_over_is_not_released_under_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lease(FP):
        path = write_lease(store)
    assert json.loads(path.read_text())["token"] == "theirs"


def test_other_refusals_of_the_file_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), Store(tmp_path).errors():
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_interrupt_releases_the_lease_wherever_it_comes(tmp_path: Path) -> None:
    """At each line of the store and the lease in turn."""
    store, files = Store(tmp_path), {artifact.__file__, leases.__file__}

    def interrupt_at(number: int) -> bool:
        """Take and release a lease, interrupted at this line; False where there are not so many."""
        left = number

        def trace(frame: FrameType, event: str, argument: object) -> object:
            nonlocal left
            if frame.f_code.co_filename in files and threading.current_thread() is threading.main_thread():
                left -= event == "line"
                if left == 0 and event == "line":
                    left = -1
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with store.lease(FP):
                pass
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    number = 1
    while interrupt_at(number):
        found = [path.read_text() for path in (tmp_path / "leases").iterdir()]
        assert found == [], f"interrupted at line {number} of those that are run"
        number += 1
    assert number > 20
