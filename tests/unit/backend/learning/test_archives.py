"""Folders that are sent between machines: what arrives, and what is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from active_learn_backend.errors import EngineError
from active_learn_backend.learning.engines import archives
from active_learn_backend.learning.engines.archives import pack, unpack


def test_a_folder_arrives_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "empty").mkdir(parents=True)
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_bytes(b"\0bytes")
    (folder / "link").symlink_to("deep/file")
    pack(folder, tmp_path / "it.tar")
    (tmp_path / "new").mkdir()
    unpack(tmp_path / "it.tar", tmp_path / "new")
    found = {str(one.relative_to(tmp_path / "new")) for one in (tmp_path / "new").rglob("*")}
    assert found == {"empty", "deep", "deep/file", "link"}
    assert (tmp_path / "new" / "link").read_bytes() == b"\0bytes"
    assert not (tmp_path / "new" / "link").is_symlink()


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "device", "parent", "absolute"])
def test_what_is_no_plain_file_is_not_taken(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    name = {"parent": "../victim", "absolute": str(victim)}.get(kind, "one")
    member = tarfile.TarInfo(name)
    member.linkname = str(victim)
    types = {
        "symbolic link": tarfile.SYMTYPE,
        "hard link": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
    }
    member.type = types.get(kind, tarfile.REGTYPE)
    member.size = 4 if kind in ("parent", "absolute") else 0
    with tarfile.open(tmp_path / "it.tar", "w") as file:
        file.addfile(member, io.BytesIO(b"evil"))
    (tmp_path / "new").mkdir()
    with pytest.raises(EngineError, match="from the cluster"):
        unpack(tmp_path / "it.tar", tmp_path / "new")
    assert victim.read_text() == "as it was"
    assert not any(one.is_symlink() for one in (tmp_path / "new").rglob("*"))


def test_rubbish_and_too_much_are_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it.tar").write_bytes(b"rubbish" * 100)
    with pytest.raises(EngineError, match="cannot be read"):
        unpack(tmp_path / "it.tar", tmp_path / "new")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(b"x" * 100)
    pack(folder, tmp_path / "it.tar")
    monkeypatch.setattr(archives, "MOST_BYTES", 99)
    with pytest.raises(EngineError, match="over 0 GiB"):
        unpack(tmp_path / "it.tar", tmp_path / "new")
    with pytest.raises(EngineError, match=r"folder has .* GiB"):
        pack(folder, tmp_path / "it.tar")
