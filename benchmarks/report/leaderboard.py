"""The table that people read: one row for each goal and method, every rate with its interval and n."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from veilbench.errors import UserError
from veilbench.metrics.statistics import wilson_interval

from ..engine.plan import Plan
from ..engine.runner import REFERENCE_CELL
from ..engine.status import status
from ..engine.store import Store
from ..progress import grouped
from .items import BLACK_BOX, WHITE_BOX

if TYPE_CHECKING:
    from rich.table import Table

FAMILIES = ("none", "noise", "makeup", "diffusion")


def rates(items: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """PSR of every goal, method, judge and role at every FAR, with Wilson intervals.

    Items of one source against several targets count as separate trials.

    Args:
        items: rows of :func:`~benchmarks.report.items.collect`.
        confidence: level of the intervals.

    Returns:
        Columns ``goal, method, family, judge, role, far, n, psr, low, high``; rates in ``[0, 1]``.
    """
    rows = []
    fars = [name.removeprefix("success@") for name in items.columns if name.startswith("success@")]
    keys = ["goal", "method", "family", "judge", "role"]
    for values, group in items.groupby(keys, sort=False):
        for far in fars:
            outcomes = group[f"success@{far}"].dropna().astype(bool)
            if len(outcomes):
                rows.append({**dict(zip(keys, values, strict=True)), "far": float(far), **_rate(outcomes, confidence)})
    return pd.DataFrame(rows)


def leaderboard(plan: Plan, store: Store, items: pd.DataFrame) -> pd.DataFrame:
    """One row for each goal and method: within a goal by family, and within a family best mean black-box PSR first.

    Raises:
        UserError: when ``items`` mixes protocol versions.
    """
    if items.empty:
        raise UserError(f"suite {plan.suite.name}: {_nothing(plan, store)}")
    versions = sorted(set(items["protocol"]))
    if len(versions) > 1:
        raise UserError(f"these rows mix protocol versions {', '.join(versions)}; run the older ones again")
    confidence = plan.suite.spec.protocol.confidence
    rows = [
        _row(plan, store, str(goal), str(method), group, confidence)
        for (goal, method), group in items.groupby(["goal", "method"], sort=False)
    ]
    table = pd.DataFrame(rows)
    order = {goal: place for place, goal in enumerate(plan.suite.spec.protocol.goals)}
    best = "psr" if table["psr"].notna().any() else "psr_white_box"
    families = {family: place for place, family in enumerate(FAMILIES)}
    return (
        table.assign(_goal=table["goal"].map(order), _family=table["family"].map(families))
        .sort_values(["_goal", "_family", best], ascending=[True, True, False], kind="stable")
        .drop(columns=["_goal", "_family"])
        .reset_index(drop=True)
    )


def _nothing(plan: Plan, store: Store) -> str:
    """Why there is no row at all, and what to do."""
    name = plan.suite.name
    states = {cell: status(store, protection.id, protection.items) for cell, protection in plan.protections.items()}
    reasons = grouped([f"{cell}: {state.error}" for cell, state in states.items() if state.error])
    if reasons:
        return f"nothing is scored, cells failed: {'; '.join(reasons)}; mend that and run `veilbench run {name}` again"
    if states and all(state.finished == state.total for state in states.values()):
        return (
            "nothing can be scored: dodging needs another photo of each person, and the data set has none; give some "
            "(`others` of a folder), or set protocol.goals to [impersonate]"
        )
    return f"nothing is scored yet; run `veilbench run {name}`"


def _row(plan: Plan, store: Store, goal: str, method: str, group: pd.DataFrame, confidence: float) -> dict[str, Any]:
    black, white = (group[group["role"] == role] for role in (BLACK_BOX, WHITE_BOX))
    row: dict[str, Any] = {"goal": goal, "method": method, "family": group["family"].iloc[0]}
    for judge in plan.suite.judges:
        row |= _prefixed(f"psr_{judge}", _rate(black.loc[black["judge"] == judge, "success"], confidence))
    row |= _prefixed("psr", _rate(black["success"], confidence))
    row |= _prefixed("psr_white_box", _rate(white["success"], confidence))
    # quality and cost belong to images: an image that several judges looked at counts once
    images = group.drop_duplicates(["cell", "item"])
    row |= {
        "psnr": images["psnr"].mean(),
        "ssim": images["ssim"].mean(),
        **_realism(plan, store, images["cell"].unique()),
        "seconds_per_image": images["seconds"].mean(),
        "forward_per_image": images["forward"].mean(),
        "backward_per_image": images["backward"].mean(),
        **{f"{column}_per_image": images[column].mean() for column in map(str, images) if column.endswith("_passes")},
        **_training(plan, store, images["cell"].unique()),
        "images": len(images),
        "sources": images["item"].nunique(),
        "failed": _failed(plan, store, images["cell"].unique()),
        "far": plan.suite.spec.protocol.far,
        "bits": 8,
        "protocol": group["protocol"].iloc[0],
        "dataset": plan.dataset.manifest.name,
        "manifest": plan.dataset.manifest.digest[:12],
    }
    return row


def _rate(outcomes: Iterable[Any], confidence: float) -> dict[str, Any]:
    flags = [bool(flag) for flag in outcomes]
    if not flags:
        return {"psr": None, "low": None, "high": None, "n": 0}
    estimate = wilson_interval(sum(flags), len(flags), confidence)
    return {"psr": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _prefixed(name: str, rate: dict[str, Any]) -> dict[str, Any]:
    return {name: rate["psr"], f"{name}_low": rate["low"], f"{name}_high": rate["high"], f"{name}_n": rate["n"]}


def _realism(plan: Plan, store: Store, cells: Iterable[str]) -> dict[str, float]:
    """FID and KID of all images of a row against the clean sources, named after the network that saw them, and n.

    n is that of the smaller set; below two images there is no covariance and both are NaN.
    """
    name = plan.suite.spec.realism
    if name is None:
        return {}
    from veilbench.metrics.realism import FEWEST, fid, kid  # noqa: PLC0415 (clean-fid is slow to import)

    score = plan.feature_score(name)
    reference = store.read_score(REFERENCE_CELL, f"{score}-{plan.dataset.manifest.digest[:12]}")
    frames = [frame for cell in cells if (frame := store.read_score(cell, score)) is not None]
    if reference is None or not frames:
        return {}
    real = reference.drop(columns="item").to_numpy()
    made = pd.concat(frames).drop(columns="item").to_numpy()
    n = min(len(real), len(made))
    distances = (fid(real, made), kid(real, made)) if n >= FEWEST else (math.nan, math.nan)
    return {f"fid[{name}]": distances[0], f"kid[{name}]": distances[1], f"fid[{name}]_n": n}


def _training(plan: Plan, store: Store, cells: Iterable[str]) -> dict[str, float]:
    """What training a network took on average, over the networks of a row; nothing for methods that train none."""
    trainings = {training.id for cell in cells if (training := plan.protections[cell].training) is not None}
    seconds = [record["seconds"] for one in sorted(trainings) if (record := store.training(one).record)]
    return {"seconds_per_training": sum(seconds) / len(seconds), "trainings": len(seconds)} if seconds else {}


def _failed(plan: Plan, store: Store, cells: Iterable[str]) -> int:
    """Images without a result."""
    return sum(len(set(plan.protections[cell].items) - set(store.protection(cell).finished())) for cell in cells)


def percent(value: float | None) -> str:
    """``0.4375`` as ``43.8``; a hyphen where there is no value."""
    return "-" if value is None or pd.isna(value) else f"{100 * value:.1f}"


def with_interval(row: pd.Series[Any], name: str) -> str:
    """``87.5 [52.9, 97.8]`` from a row's rate and its ends."""
    return f"{percent(row[name])} [{percent(row[f'{name}_low'])}, {percent(row[f'{name}_high'])}]"


def display(plan: Plan, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The columns worth reading, as text, one frame for each goal."""
    realism = plan.suite.spec.realism
    tables = {}
    for goal, rows in table.groupby("goal", sort=False):
        shown = pd.DataFrame({"method": rows["method"], "family": rows["family"]})
        if rows["psr_n"].any():
            for judge in plan.suite.judges:
                shown[_short(judge)] = rows[f"psr_{judge}"].map(percent)
            shown["black-box PSR %"] = [
                with_interval(row, "psr") if row["psr_n"] else "-" for _, row in rows.iterrows()
            ]
        shown["white-box PSR %"] = [
            with_interval(row, "psr_white_box") if row["psr_white_box_n"] else "-" for _, row in rows.iterrows()
        ]
        shown["PSNR"] = rows["psnr"].map(lambda value: "∞" if value == float("inf") else f"{value:.1f}")
        shown["SSIM"] = rows["ssim"].map("{:.3f}".format)
        if realism and f"fid[{realism}]" in rows:
            shown[f"FID [{realism}]"] = rows[f"fid[{realism}]"].map(
                lambda value: "-" if pd.isna(value) else f"{value:.3f}"
            )
        shown["s/image"] = rows["seconds_per_image"].map("{:.2f}".format)
        if "seconds_per_training" in rows and rows["seconds_per_training"].notna().any():
            shown["s/training"] = rows["seconds_per_training"].map(
                lambda seconds: "-" if pd.isna(seconds) else f"{seconds:.1f}"
            )
        shown["passes"] = [
            f"{row['forward_per_image']:.0f}+{row['backward_per_image']:.0f}" for _, row in rows.iterrows()
        ]
        if "unet_passes_per_image" in rows and rows["unet_passes_per_image"].notna().any():
            shown["UNet passes"] = rows["unet_passes_per_image"].map(
                lambda count: "-" if pd.isna(count) else f"{count:.0f}"
            )
        shown["n"] = _decisions(rows).astype(str)
        if rows["failed"].any():
            shown["failed"] = rows["failed"].astype(str)
        tables[str(goal)] = shown
    return tables


def notes(plan: Plan, table: pd.DataFrame) -> str:
    """What the numbers mean, in one paragraph for below the table."""
    protocol, realism = plan.suite.spec.protocol, plan.suite.spec.realism
    lines = [
        f"PSR at FAR {protocol.far:g}, from 8-bit PNGs read back from disk; "
        f"{100 * protocol.confidence:.0f} % Wilson intervals.",
        _roles(plan),
        "n: decisions behind the PSR, one for each photo, target and held-out recogniser." + _unequal(table),
        "Passes: recogniser forward+backward passes per image.",
    ]
    if "unet_passes_per_image" in table:
        lines.append(
            "UNet passes: forward and backward together, per image; less where intermediate results were there."
        )
    if "seconds_per_training" in table:
        lines.append(
            "s/training: to train one network (for one target and choice of surrogates), once for all images; "
            "s/image is without it."
        )
    if realism:
        lines.append(f"FID uses features of {realism}, not Inception: comparable within this table only.")
        lines += _few_images(table, realism)
    if plan.dataset.drawn:
        lines.append("Faces are drawn by a program: nothing here is a result about real faces.")
    return " ".join(lines)


def _roles(plan: Plan) -> str:
    if set(plan.suite.judges) - set(plan.suite.surrogates) and plan.suite.spec.protocol.surrogates == "all":
        return "Black-box: judged by recognisers that are no surrogates; white-box: by surrogates, also of clean."
    if plan.suite.spec.protocol.surrogates == "all":
        return (
            "White-box: no recogniser is held out; every row, clean too, is judged by all of them, which the methods "
            "attacked."
        )
    return "Black-box: judged by the recogniser that the method could not use; white-box: by those that it attacked."


def _decisions(table: pd.DataFrame) -> pd.Series[Any]:
    """The n of each row: of the black-box rate, or of the white-box one where there is no other."""
    return table["psr_n"].where(table["psr_n"] > 0, table["psr_white_box_n"]).astype(int)


def _unequal(table: pd.DataFrame) -> str:
    """A warning where rows rest on unequal n: other photos or targets were asked about, so rates cannot be compared."""
    counts = _decisions(table).groupby(table["goal"], sort=False).unique()
    if len({int(n) for values in counts for n in values}) == 1:
        return ""
    found = "; ".join(f"{goal} {', '.join(str(n) for n in sorted(values))}" for goal, values in counts.items())
    return f" It is not the same everywhere ({found}): do not compare rows of unequal n."


def _few_images(table: pd.DataFrame, realism: str) -> list[str]:
    """A warning where FID rests on too few images."""
    from veilbench.metrics.realism import ENOUGH  # noqa: PLC0415 (clean-fid is slow to import)

    column = f"fid[{realism}]_n"
    few = sorted({int(n) for n in table[column].dropna() if n < ENOUGH}) if column in table else []
    if not few:
        return []
    return [
        f"FID of n = {', '.join(map(str, few))}: fewer than {ENOUGH:,} images bias it upwards and KID varies; compare "
        "rows of equal n only, and no other table. Of fewer than two images there is none."
    ]


def to_markdown(plan: Plan, table: pd.DataFrame) -> str:
    """The leaderboard as Markdown."""
    parts = []
    for goal, shown in display(plan, table).items():
        rows = [list(shown.columns), ["---"] * 2 + ["---:"] * (len(shown.columns) - 2), *shown.to_numpy().tolist()]
        parts.append(f"### {goal}\n\n" + "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows))
    return "\n\n".join([*parts, notes(plan, table)]) + "\n"


def _cell(text: str) -> str:
    """Text inside a Markdown table: a bar would begin another column."""
    return text.replace("|", "\\|")


def to_rich(plan: Plan, table: pd.DataFrame, width: int, plain: bool = False) -> list[Table]:
    """The leaderboard for a terminal of ``width`` characters; where it is too narrow, lesser columns are left out.

    ``plain``: with ASCII alone, for terminals that know nothing else.
    """
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415

    tables = []
    for goal, text in display(plan, table).items():
        shown = text.replace("∞", "inf") if plain else text
        fitting, left_out = _fitting(shown, [_short(name) for name in plan.suite.judges], width)
        caption = f"left out for width: {escape(', '.join(left_out))} (see leaderboard.md)" if left_out else None
        grid = RichTable(
            title=escape(f"{plan.suite.name}: {goal}"),
            title_justify="left",
            header_style="bold",
            caption=caption,
            caption_justify="left",
        )
        for column in fitting.columns:
            grid.add_column(escape(column), justify="left" if column in {"method", "family"} else "right", no_wrap=True)
        kinds = shown["family"].tolist()
        for row, family, following in zip(fitting.to_numpy().tolist(), kinds, [*kinds[1:], None], strict=True):
            grid.add_row(*map(escape, row), end_section=following not in (family, None))
        tables.append(grid)
    return tables


def _short(recognizer: str) -> str:
    return recognizer.removeprefix("embedded_")


def _fitting(shown: pd.DataFrame, judges: list[str], width: int) -> tuple[pd.DataFrame, list[str]]:
    """The columns that fit into ``width`` characters, and the names of those that were dropped for it."""
    lesser = [
        "family",
        "n",
        "passes",
        "UNet passes",
        *[name for name in map(str, shown) if name.startswith("FID")],
        *reversed(judges),
        "s/training",
        "s/image",
    ]
    left_out: list[str] = []
    for column in lesser:
        needed = 1 + sum(3 + max(len(str(name)), *shown[name].map(len)) for name in shown)
        if needed <= width:
            break
        if column in shown:
            shown = shown.drop(columns=column)
            left_out.append(column)
    return shown, left_out
