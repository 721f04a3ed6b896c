"""Large suites: what all rows share is read, built and hashed once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from veilbench import registry
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.specs import components, configs
from veilbench.benchmarks.specs.strict_yaml import load
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.datasets.base import Manifest
from veilbench.datasets.synthetic import SyntheticFaces

ROWS = 40


def many(folder: Path) -> str:
    """A suite of so many rows of one method."""
    rows = [f"  - {{method: pgd, label: p{row}, params: {{epsilon: 0.0{row + 100}}}}}" for row in range(ROWS)]
    head = [
        "dataset: {kind: synthetic, params: {sources: 2, targets: 1, size: 16}}",
        "recognizers: [embedded_irse50, embedded_ir152]",
        "protocol: {surrogates: all}",
        "methods:",
    ]
    path = folder / "many.yaml"
    path.write_text("\n".join([*head, *rows]), encoding="utf-8")
    return str(path)


def test_what_rows_share_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    make, manifest = registry._signature_model, SyntheticFaces.manifest

    def counted_load(text: str, where: str) -> Any:
        calls[Path(where).name] += 1
        return load(text, where)

    def counted_make(cls: type[Any]) -> type[BaseModel]:
        calls[cls.__name__] += 1
        return make(cls)

    def counted_manifest(faces: SyntheticFaces) -> Manifest:
        calls["manifest"] += 1
        found: Manifest = manifest.fget(faces)  # type: ignore[attr-defined]
        return found

    def counted_read(path: Path) -> dict[str, Any]:
        calls[f"read {path.name}"] += 1
        return configs.read_yaml(path)

    configs._parsed.cache_clear()
    registry._MODELS.clear()
    monkeypatch.setattr(configs, "load", counted_load)
    monkeypatch.setattr(components, "read_yaml", counted_read)
    monkeypatch.setattr(registry, "_signature_model", counted_make)
    monkeypatch.setattr(SyntheticFaces, "manifest", property(counted_manifest))
    plan = Plan(load_suite(many(tmp_path)))
    assert len(plan.protections) == ROWS
    assert calls["pgd.yaml"] == calls["many.yaml"] == calls["PGD"] == calls["read pgd.yaml"] == 1
    assert calls["manifest"] == 1


def test_what_is_read_once_is_handed_out_as_copies(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("list: [1, 2]", encoding="utf-8")
    configs.read_yaml(path)["list"].append(3)
    assert configs.read_yaml(path) == {"list": [1, 2]}
    path.write_text("list: [1, 5]", encoding="utf-8")
    assert configs.read_yaml(path) == {"list": [1, 5]}
