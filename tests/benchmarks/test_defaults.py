"""Defaults stand in no identity: whoever changes one raises the class's version, or old results pass for new."""

from __future__ import annotations

import inspect

import pytest

from veilbench import registry
from veilbench.benchmarks.engine.identity import fingerprint

# version of each part and the hash of its defaults.  A new parameter changes the hash and may keep the version; a
# changed default may not.
KNOWN = {
    "methods/clean": ("1", "44136fa355b3"),
    "methods/diffam": ("1", "445d2a858488"),
    "methods/mi_fgsm": ("1", "ccee39ec4791"),
    "methods/pgd": ("1", "27881f97d3d0"),
    "methods/ti_dim": ("1", "4cdb512a94a1"),
    "methods/tip_im": ("1", "f4764c315999"),
    "methods/veil": ("1", "3f76c4cf0563"),
    "methods/weaken_diff": ("1", "fa21a80f66d8"),
    "networks/dlib_resnet": ("1", "44136fa355b3"),
    "networks/mobilefacenet_tf": ("1", "44136fa355b3"),
    "networks/mobilenet_v1": ("1", "44136fa355b3"),
    "networks/inception_resnet": ("1", "77dc04dcc006"),
    "networks/ir": ("1", "42de5dba828b"),
    "networks/mobilefacenet": ("1", "53ef05d55d58"),
    "recognizers/frbench": ("1", "44136fa355b3"),
    "recognizers/insightface": ("1", "44136fa355b3"),
    "recognizers/onnx": ("1", "251245d9926d"),
    "recognizers/state_dict": ("1", "6517b99a8771"),
}


def test_all_parts_are_known() -> None:
    rooms = ("methods", "networks", "recognizers")
    assert set(KNOWN) == {f"{room}/{kind}" for room in rooms for kind in registry.known_kinds(room)}


@pytest.mark.parametrize("part", KNOWN)
def test_a_changed_default_is_noticed(part: str) -> None:
    room, _, kind = part.partition("/")
    cls = registry.find(room, kind)
    parameters = inspect.signature(cls.__init__).parameters.items()
    defaults = {name: one.default for name, one in parameters if one.default is not inspect.Parameter.empty}
    now = (getattr(cls, "version", "1"), fingerprint(defaults))
    assert now == KNOWN[part], f"{part}: raise its version if a default changed, then write {now} into KNOWN"
