"""What every face data set promises."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from veilbench.datasets.base import FaceBatch, FaceDataset, FaceParts

from .base import Check, must

Maker = Callable[[], FaceDataset]
SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")
FEW = 3  # distractors that are looked at: there may be thousands
LEVELS = 255  # of an 8-bit PNG


def _named_images(dataset: FaceDataset) -> dict[str, Tensor]:
    """Every picture that a data set can hand out."""
    found = {}
    for index in range(len(dataset)):
        face, other = dataset[index], dataset.gallery_photo(index)
        found[face.id] = face.image
        if other is not None:
            found[f"gallery photo of {face.id}"] = other
    for target in dataset.targets:
        found |= {f"target {target.name}": target.image, f"gallery photo of target {target.name}": target.gallery}
    return found


def images_are_rgb_of_one_size(make: Maker) -> None:
    """``3 x H x W``, ``float32``, in [0, 1], and exactly what an 8-bit PNG can hold."""
    images = _named_images(make())
    shape = next(iter(images.values())).shape
    for name, image in images.items():
        _check_image(name, image, shape)
        eight_bit = (image * LEVELS).round() / LEVELS
        must(torch.equal(eight_bit, image), f"{name}: values between the steps of 8 bits; round to n / 255")


def _check_image(name: str, image: Tensor, shape: torch.Size) -> None:
    must(
        image.shape == shape and len(image) == 3,  # noqa: PLR2004 (colours)
        f"{name}: shape {tuple(image.shape)}, others are {tuple(shape)}",
    )
    must(image.dtype == torch.float32, f"{name}: {image.dtype}, not torch.float32")
    must(0 <= float(image.min()) <= float(image.max()) <= 1, f"{name}: values leave [0, 1]")


def ids_are_unique_and_safe(make: Maker) -> None:
    """Ids and names of targets are safe as file names, also where case does not count."""
    dataset = make()
    for names in ([dataset[index].id for index in range(len(dataset))], [one.name for one in dataset.targets]):
        must(len({name.lower() for name in names}) == len(names), f"a name stands twice among {names[:20]}")
        for name in names:
            must(bool(SAFE_NAME.fullmatch(name)), f"{name!r} is not safe as a file name: letters, digits, . _ - only")
    must(len(dataset) > 0, "it is empty")


def the_manifest_lists_the_items_in_order(make: Maker) -> None:
    """One entry for each item, with sha256 hashes of what it is made of, none of them twice."""
    dataset = make()
    entries = dataset.manifest.entries
    must(
        [entry.id for entry in entries] == [dataset[index].id for index in range(len(dataset))],
        "the manifest's ids are not those of the items in their order",
    )
    for index, entry in enumerate(entries):
        told = entry.gallery_sha256 is not None
        has = dataset.gallery_photo(index) is not None
        must(told == has, f"{entry.id}: the manifest errs about its gallery photo")
    hashes = [value for entry in entries for value in (entry.sha256, entry.gallery_sha256) if value is not None]
    hashes += [target.sha256 for target in dataset.targets]
    for value in hashes:
        must(bool(SHA256.fullmatch(value)), f"{value!r} is not a sha256 in hex")
    must(len(set(hashes)) == len(hashes), "two items have one hash; is a photo there twice?")


def building_it_again_gives_the_same(make: Maker) -> None:
    """Equal manifest and equal pixels, in this process and after a pickle."""
    one, two = make(), make()
    must(one.manifest == two.manifest, "two constructions have different manifests; seed what is random")
    copy: FaceDataset = pickle.loads(pickle.dumps(one))  # noqa: S301 (our own bytes)
    for other in (one, two, copy):
        pairs = zip(_named_images(one).items(), _named_images(other).values(), strict=True)
        for (name, image), again in pairs:
            must(torch.equal(image, again), f"{name}: another picture when it is read again; seed what is random")


def gallery_photos_are_other_photos(make: Maker) -> None:
    """Nobody is scored against the very photo that was protected or attacked with."""
    dataset = make()
    for index in range(len(dataset)):
        face, other = dataset[index], dataset.gallery_photo(index)
        must(other is None or not torch.equal(other, face.image), f"{face.id}: its gallery photo is the same photo")
    for target in dataset.targets:
        must(not torch.equal(target.gallery, target.image), f"target {target.name}: its gallery photo is the same")


def groups_share_nobody(make: Maker) -> None:
    """Where sources are divided among the targets, each belongs to exactly one."""
    dataset = make()
    groups = [dataset.group(target.name) for target in dataset.targets]
    divided = [item for group in groups if group is not None for item in group]
    must(len(set(divided)) == len(divided), "a source belongs to two groups")
    everyone = {entry.id for entry in dataset.manifest.entries}
    must(not divided or set(divided) == everyone, "some sources belong to no group")


def masks_fit_their_image(make: Maker) -> None:
    """Masks are ``1 x H x W`` in [0, 1] and do not overlap."""
    dataset = make()
    for index in range(len(dataset)):
        parts = dataset.parts(index)
        if parts is not None:
            _check_parts(dataset[index].id, dataset[index].image, parts)


def _check_parts(owner: str, image: Tensor, parts: FaceParts) -> None:
    masks = parts.named()
    for name, mask in masks.items():
        must(
            mask.shape == (1, *image.shape[1:]), f"{owner}: mask {name} is {tuple(mask.shape)}, not of its photo's size"
        )
        must(mask.dtype == torch.float32, f"{owner}: mask {name} is {mask.dtype}, not torch.float32")
        must(0 <= float(mask.min()) <= float(mask.max()) <= 1, f"{owner}: mask {name} leaves [0, 1]")
    rounding = 1e-5
    must(float(torch.stack(list(masks.values())).sum(dim=0).max()) <= 1 + rounding, f"{owner}: masks overlap")


def references_are_made_up_faces(make: Maker) -> None:
    """Each makeup reference has a name and a hash of its own; a non-makeup / makeup pair differs."""
    references = make().references
    names = [one.name for one in references.values()]
    must(names == list(references), f"references are listed as {list(references)} and call themselves {names}")
    must(len({name.lower() for name in names}) == len(names), f"a name stands twice among {names}")
    must(len({one.sha256 for one in references.values()}) == len(names), "two references have one hash")
    for name, one in references.items():
        must(bool(SAFE_NAME.fullmatch(name)), f"{name!r} is not safe as a file name: letters, digits, . _ - only")
        must(bool(SHA256.fullmatch(one.sha256)), f"{name}: {one.sha256!r} is not a sha256 in hex")
        for image in (one.makeup, *([] if one.non_makeup is None else [one.non_makeup])):
            _check_image(name, image, one.makeup.shape)
            must(float(image.min()) < float(image.max()), f"{name}: one colour all over")
            if one.parts is not None:
                _check_parts(name, image, one.parts)
        pair = one.non_makeup, one.makeup
        must(pair[0] is None or not torch.equal(pair[0], pair[1]), f"{name}: its non-makeup photo is the makeup photo")


def faces_collate(make: Maker) -> None:
    """Items can be stacked into a batch."""
    dataset = make()
    batch = FaceBatch.collate([dataset[index] for index in range(len(dataset))])
    must(len(batch.images) == len(dataset), "the batch has another number of faces")


def a_gallery_enrols_everybody(make: Maker) -> None:
    """Sources that have a gallery photo, targets, and distractors who are neither, with photos like all others."""
    dataset = make()
    known = [entry for entry in dataset.manifest.entries if entry.gallery_sha256 is not None]
    if not known:
        return  # nobody could be found: `gallery` says so
    gallery, distractors = dataset.gallery(), dataset.distractors
    wanted = len(known) + len(dataset.targets) + len(distractors)
    must(len(gallery) == wanted, f"{len(gallery)} photos are enrolled, not {wanted}; leave `gallery` as it is")
    must(gallery.digest == make().gallery().digest, "two galleries have different digests; seed what is random")
    people = {*gallery.sources.values(), *gallery.targets.values()}
    mine = {entry.sha256 for entry in dataset.manifest.entries} | {entry.gallery_sha256 for entry in known}
    for one in distractors:
        must(one.person not in people, f"distractor {one.person!r} is a source or a target, too; name them apart")
        must(bool(SHA256.fullmatch(one.sha256)), f"distractor {one.person}: {one.sha256!r} is not a sha256 in hex")
        must(one.sha256 not in mine, f"distractor {one.person} has the hash of a source's photo; take other people")
    for one in distractors[:FEW]:
        _check_image(f"distractor {one.person}", one.photo(), dataset[0].image.shape)
        must(torch.equal(one.photo(), one.photo()), f"distractor {one.person}: another picture when it is read again")


DATASET_CHECKS: Sequence[Check[Maker]] = (
    images_are_rgb_of_one_size,
    ids_are_unique_and_safe,
    the_manifest_lists_the_items_in_order,
    building_it_again_gives_the_same,
    gallery_photos_are_other_photos,
    a_gallery_enrols_everybody,
    groups_share_nobody,
    masks_fit_their_image,
    references_are_made_up_faces,
    faces_collate,
)
