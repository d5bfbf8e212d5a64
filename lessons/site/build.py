"""Build the site: put together what Sphinx reads, and run it."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lessons.course import HERE, Lesson
from lessons.notebook import to_notebook

SITE = HERE / "site"
NEEDED = ("sphinx", "sphinx_gallery", "furo", "latex2mathml", "ziamath")


def build(lessons: Sequence[Lesson], out: Path, *, fast: bool = False) -> Path:
    """Build the site of some lessons in a folder, and return its first page.

    The lessons are executed, one after the other. In the folder stand ``source`` (what Sphinx reads), ``doctrees`` (its
    notes) and ``html``, which is the site and can be moved; an earlier site is replaced.

    Raises:
        RuntimeError: if a package is missing, or Sphinx failed.
        FileExistsError: if the folder holds something else.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f'needs {", ".join(missing)}, which are not installed: pip install -e ".[site]"')
    source, html = out / "source", out / "html"
    if out.exists() and any(out.iterdir()) and not (source / "cells").exists():
        raise FileExistsError(errno.EEXIST, "holds something that is no site; give a new or an empty folder", str(out))
    for folder in (source, html, out / "doctrees"):
        shutil.rmtree(folder, ignore_errors=True)
    stage(lessons, source)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-c", SITE, "-d", out / "doctrees"]
    command += ["-W", "--keep-going", "-j", "auto", *(["-t", "fast"] if fast else []), source, html]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    status = subprocess.run([str(word) for word in command], env=environment).returncode
    if status:
        raise RuntimeError(f"Sphinx stopped with status {status}; its messages stand above")
    return html / "index.html"


def stage(lessons: Sequence[Lesson], source: Path) -> None:
    """Put together what Sphinx reads: the pages, the lessons for the gallery, and what one can download."""
    from lessons.site import prose, reference

    cells, downloads = source / "cells", source / "downloads"
    for folder in (cells, downloads):
        folder.mkdir(parents=True)
    for lesson in lessons:
        file = HERE / f"{lesson.name}.py"
        quiz = getattr(importlib.import_module(f"lessons.{lesson.name}"), "QUIZ", ())
        (cells / file.name).write_text(prose.gallery_file(lesson, quiz), encoding="utf-8")
        shutil.copy(file, downloads)
        book = json.dumps(to_notebook(file.read_text(encoding="utf-8"), quiz), indent=1, ensure_ascii=False)
        (downloads / f"{lesson.name}.ipynb").write_text(book + "\n", encoding="utf-8")
    (cells / "index.rst").write_text(":orphan:\n\nLessons\n=======\n", encoding="utf-8")
    reference.write(source / "reference")
    for page in SITE.glob("*.rst"):
        text = prose.lesson_links(prose.dollars(page.read_text(encoding="utf-8")), lessons)
        (source / page.name).write_text(text.replace("LESSONS", prose.lesson_list(lessons)), encoding="utf-8")
