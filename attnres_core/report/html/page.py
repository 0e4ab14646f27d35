"""One run's record -> one self-contained HTML page, and the same record as JSON."""

from __future__ import annotations

import base64
import contextlib
import csv
import functools
import gzip
import hashlib
import importlib.metadata
import io
import json
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import vl_convert
from altair.utils import schemapi

from attnres_core.files import atomic, kept_text
from attnres_core.records import document_columns
from attnres_core.records.schema import Record
from attnres_core.records.writing import record_text
from attnres_core.report import by_source, numbers, scope, tables, verdict_signs, wording
from attnres_core.report.html import answer, distribution, figure, path_parts, sections
from attnres_core.shapes import Column
from attnres_core.shipped import cache_folder

__all__ = ["render", "write"]

BUNDLES = {"1.9.0.post1": "3425bd951a44d478d0505c6b5d1e8d57656b6e9a4da7bfe88a718ce61d76e572"}
"""SHA-256 of the drawing library, by the version of vl-convert-python that makes it, which takes a second."""
_HERE = Path(__file__).parent / "templates"
KEPT = 20
"""Dated reports that stay."""
_DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")
_SCRIPT_SAFE = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def write(record: Record, html_path: Path, *, part: bool = False, columns: Mapping[str, Column] | None = None) -> Path:
    """Write the record as a page; beside it as .json, its statements as .effects.csv, and its columns.

    All files are rendered in full before any is touched, and each is written atomically: if rendering fails, the old
    ones stay. The same files are
    kept in a folder named for the run's start; of such folders the newest KEPT.

    Args:
        record: what to write.
        html_path: where the page goes.
        part: whether the run was cut short or ran a part: then it is kept in the folder alone, and an earlier page of
            a whole run stays.
        columns: what it was decided on, one number a document; none: that is not kept.

    Returns:
        The page's path.

    Raises:
        ValueError: the record holds a NaN or an infinite number (write a missing limit as None).
    """
    kept = html_path.parent / record["run"]["started"].replace(":", "-").replace("+00-00", "Z")
    as_json = record_text(record)
    texts = {
        html_path.with_suffix(".json").name: as_json,
        html_path.with_suffix(".effects.csv").name: effects_csv(record),
        html_path.name: render(record),
    }
    files = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    columns_name = html_path.with_suffix(document_columns.SUFFIX).name
    if columns:
        files[columns_name] = document_columns.packed(columns, as_json)
    try:
        with contextlib.ExitStack() as staged:
            for folder in (kept, *([] if part else [html_path.parent])):
                folder.mkdir(parents=True, exist_ok=True)
                for name, content in files.items():
                    temporary = staged.enter_context(atomic(folder / name))
                    temporary.write_bytes(content)
    finally:
        with contextlib.suppress(OSError):
            kept.rmdir()  # (where nothing came of it)
    dated = [path for path in html_path.parent.iterdir() if _DATED.fullmatch(path.name) and path.is_dir()]
    # Nobody else's folders are removed, whatever their names.
    ours = [path for path in dated if {file.name for file in path.iterdir()} - {columns_name} == texts.keys()]
    for folder in sorted(ours)[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
    return kept / html_path.name if part else html_path


def render(record: Record) -> str:
    """The page: every script, style, chart and number in one document that loads nothing."""
    scripts = [_asset(name) for name in ("claims.js", "exports.js", "page.js")]
    with ThreadPoolExecutor(1) as beside:  # a second of compiled code, while the charts are made
        library = beside.submit(_packed_library)
        with schemapi.debug_mode(False):  # (half a second of checks that the tests of every chart make)
            shown, values = sections.shown(record)
            values |= {"distribution": distribution.template(), "path_parts": path_parts.template()}
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            record=record,
            scripts=scripts,
            library=library.result(),
            shared=_shared(record),
            style=_style(),
            policy=_content_policy([_vega_bundle(), *scripts]),
            failed_controls=[claim for claim in record["claims"] if wording.control_failed(claim)],
            sections=shown,
            **values,
        )
    )


def render_comparison(**given: Any) -> str:
    """The page of two runs side by side; `given` is what compare.html.j2 names."""
    page = _environment().get_template("compare.html.j2")
    return page.render(style=_style(), policy=_content_policy([]), **given)


def _style() -> str:
    return verdict_signs.style_sheet() + _asset("page.css")


def _shared(record: Record) -> dict[str, Any]:
    """Return what the page's script needs to name verdicts and sources and to write numbers as the page does."""
    names = {word: sign.name for word, sign in verdict_signs.SIGNS.items()}
    sources = [None if claim["control"] else by_source.source(claim) for claim in record["claims"]]
    return {"verdicts": names, "numbers": numbers.RULES, "sources": sources, "ink": figure.INK}


def effects_csv(record: Record) -> str:
    """One row a statement; a limit that is infinite or a number that is missing is an empty field."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(tables.EFFECTS)
    rows.writerows([_inert(value) for value in row.values()] for row in tables.effects(record))
    return stream.getvalue()


def _inert(value: object) -> object:
    """Text that a spreadsheet will not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def json_block(value: object) -> str:
    """JSON that is inert inside <script>: ASCII only, and no character that opens a tag or an entity."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).translate(_SCRIPT_SAFE)


def _content_policy(scripts: list[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@functools.cache
def _vega_bundle() -> str:
    version = importlib.metadata.version("vl-convert-python")
    made = functools.partial(vl_convert.javascript_bundle)  # (its stub knows no default)
    bundle = kept_text(cache_folder(), f"vega-{version}.js", BUNDLES.get(version, ""), made)
    return bundle.replace("https://vega.github.io/editor/", "")


def packed(text: str) -> str:
    """Text as base64 of its gzip, a third of its size; the page unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@functools.cache
def _packed_library() -> str:
    """The drawing library: the policy knows its hash."""
    return packed(_vega_bundle())


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "json_block": lambda value: markupsafe.Markup(json_block(value)),
        "packed": lambda value: packed(json.dumps(value, allow_nan=False, separators=(",", ":"))),
        "number": numbers.number,
        "given": numbers.given,
        "duration": numbers.duration,
        "count": numbers.count,
        "limits": wording.limits,
        "ends": numbers.interval,
        "against": wording.against,
        "more_than_additive": wording.more_than_additive,
    }
    environment.globals |= {
        "expectation": wording.expectation,
        "deciding": wording.deciding,
        "standing": wording.standing,
        "levels": wording.levels,
        "answer": wording.answer,
        "pathway_findings": answer.pathway_findings,
        "attested": wording.attested,
        "scope": scope.scope,
        "counted": wording.counted,
        "finding": wording.finding,
        "SIGNS": verdict_signs.SIGNS,
        "SHAPES": verdict_signs.SHAPES,
    }
    return environment
