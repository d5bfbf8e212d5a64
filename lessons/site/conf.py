"""Settings of Sphinx; ``minillm course site`` reads them. The tag ``fast`` runs the lessons in their fast form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode as SKIP
from latex2mathml.converter import convert

import minillm
from lessons.site.prose import dollars

fast: bool = tags.has("fast")  # type: ignore[name-defined]  # noqa: F821 (Sphinx puts the tags here)

project = "minillm"
author = copyright = "the authors of minillm"
version = release = minillm.__version__
html_title = "minillm"
language = "en"
smartquotes_action = "D"  # dashes only: quotation marks are shown as they are written

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["cells"]  # what the gallery reads
suppress_warnings = ["config.cache"]  # functions among the settings

html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"
html_static_path = ["static", str(files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"announcement": "Fast form: worse results"} if fast else {}
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = False
napoleon_use_ivar = True  # attributes are described once
napoleon_custom_sections = ["Shape", "Cost", "Source"]
maximum_signature_line_length = 90


def arguments(gallery: Any, script: Any) -> list[str]:
    """Return the command line of a lesson."""
    return ["--fast"] if fast else []


def figure(block: Any, variables: Mapping[str, Any], gallery: Any) -> str:
    """Return the figure of a lesson, if it was saved since the last cell, with its alt text and its numbers."""
    source = Path(variables["src_file"])
    made = source.parent / "runs" / "lessons" / source.stem
    if not made.with_suffix(".png").exists():
        return ""
    picture = Path(next(variables["image_path_iterator"]))
    said = json.loads(made.with_suffix(".json").read_text(encoding="utf-8"))["alt"]
    for ending in (".png", ".svg", ".json"):
        shutil.move(made.with_suffix(ending), picture.with_suffix(ending))
    place = "/" + picture.relative_to(gallery["src_dir"]).with_suffix("").as_posix()
    return (
        f".. image:: {place}.png\n   :alt: {said}\n   :class: lesson-figure\n\n"
        f"The figure as :download:`SVG <{place}.svg>`, and its :download:`numbers <{place}.json>`.\n\n"
    )


def tidy(gallery: Any, name: str) -> None:
    """Take away what a lesson leaves; the gallery would take a folder beside the lessons for a part of the course."""
    shutil.rmtree(Path(gallery["src_dir"], "cells", "runs"), ignore_errors=True)


sphinx_gallery_conf = {
    "examples_dirs": "cells",
    "gallery_dirs": "lessons",
    "filename_pattern": "l[0-9]",
    "within_subsection_order": "FileNameSortKey",
    "reset_argv": arguments,
    "reset_modules": (tidy,),
    "reset_modules_order": "after",
    "image_scrapers": (figure,),
    "notebook_extensions": set(),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": float("inf"),
}


# What latex2mathml does not know, or makes less well, in words that it knows.
TEX = {
    r"\mathrm{": r"\text{",
    r"\_": "_",
    r"\arg": r"\text{arg}\,",
    r"\lVert": r"\left\lVert",
    r"\rVert": r"\right\rVert",
}


def mathml(tex: str, display: str) -> str:
    r"""Return a formula as MathML, which browsers draw themselves.

    Raises:
        ValueError: if something in it is not known.
    """
    for ours, theirs in TEX.items():
        tex = tex.replace(ours, theirs)
    made = convert(tex, display=display)
    if "\\" in made:
        raise ValueError(f"latex2mathml does not know a part of {tex}; it made {made}")
    return made


def inline_math(writer: Any, node: Any) -> None:
    """Write a formula that stands in a line."""
    writer.body.append(f'<span class="math">{mathml(node.astext(), "inline")}</span>')
    raise SKIP


def block_math(writer: Any, node: Any) -> None:
    """Write a formula that stands alone."""
    writer.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise SKIP


def docstring(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Let formulas of docstrings be formulas."""
    lines[:] = dollars("\n".join(lines)).splitlines()


def page(app: Any, name: str, content: list[str]) -> None:
    """Take off what the gallery puts around a lesson: links to its own copies."""
    if name.startswith("lessons/l"):
        _, start, lesson = content[0].partition(".. rst-class:: sphx-glr-example-title")
        content[0] = start + lesson.partition(".. _sphx_glr_download_")[0]


def setup(app: Any) -> dict[str, bool]:
    """Add formulas, and what the pages need changed."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", docstring)
    app.connect("source-read", page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
