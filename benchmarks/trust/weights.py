"""Checking the weights of a comparison's recognisers, where they are at hand, against those that were used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from veilbench import registry
from veilbench.errors import UserError
from veilbench.files import file_sha256
from veilbench.models.user_weights.folder import kept

from ..engine.intact import gathered
from ..engine.json_files import read_json
from ..engine.names import VERIFICATION
from ..engine.results import Results
from ..specs.configs import find_config, read_yaml
from ..specs.recognizers import NETWORKS, RECOGNIZERS
from .findings import Findings

OTHER = "use the weights that the comparison was made with, or run it again with these: it gets a folder of its own"


def check_weights(results: Results, findings: Findings) -> None:
    """Hash the weight files that the recognisers' configs name now.  No network is loaded."""
    with gathered():  # what is damaged was named already
        judged, attacked = dict(_judges(results)), set(_surrogates(results))
    for name in results.manifest.recognizers:
        what, expected = f"weights of {name}", judged.get(name)
        path = _weights(results, name)
        if path is None or not path.is_file():
            findings.leave(what, "not here")
        elif expected is None and (name in results.manifest.judges or not attacked):
            findings.leave(what, "no rows name their hash")
        else:
            findings.checked["weight files"] += 1
            if file_sha256(path) not in (attacked if expected is None else {expected}):
                findings.differs(what, f"{path} is not the file that was used", OTHER)


def _judges(results: Results) -> Iterator[tuple[str, str]]:
    """The names of judges with the hashes of their weight files, as rows have them."""
    for score in results.manifest.scores:
        for cell in results.manifest.cells if score.kind == VERIFICATION else ():
            about = results.store.score_about(cell, score.id)
            if about is not None and (digest := _digest((about.get("spec") or {}).get("depends_on"))):
                yield score.judge, digest
                break


def _surrogates(results: Results) -> Iterator[str]:
    """The hashes of the weight files that were attacked."""
    for cell in results.manifest.cells:
        spec = read_json(results.store.protection(cell).path / "spec.json") or {}
        yield from filter(None, map(_digest, spec.get("surrogates") or ()))


def _digest(identity: Any) -> str:
    """The hash of a network's weight file in what its embeddings depend on; empty for recognisers of another sort."""
    found = identity.get("weights") if isinstance(identity, dict) else None
    return found if isinstance(found, str) else ""


def _weights(results: Results, name: str) -> Path | None:
    """The weight file of a recogniser by its config; None where there is no such config, or it is no network's."""
    for reference, base in _references(results, name):
        try:
            path = find_config(RECOGNIZERS, reference, base)
            content = read_yaml(path)
        except UserError:
            continue
        if content.get("kind") not in registry.kinds(NETWORKS):
            return None
        weights = content.get("weights")
        return kept(name) if weights is None else (path.parent / str(weights)).resolve()
    return None


def _references(results: Results, name: str) -> Iterator[tuple[str, Path | None]]:
    """How the suite's file names a recogniser, where it is here; then the shipped one of that name."""
    suite = Path(results.manifest.file)
    try:
        content = read_yaml(suite)
    except UserError:
        content = {}
    for key in ("recognizers", "surrogates", "judges"):
        listed = content.get(key)
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, str) and one.endswith((".yaml", ".yml")) and Path(one).stem == name:
                yield one, suite.parent
    yield name, None
